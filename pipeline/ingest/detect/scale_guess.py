"""Guess of the rating scale of a file from the ratings of its first records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.ingest.parse.columns import as_word
from pipeline.ingest.parse.stars import Rating, RatingRule, out_of_scale, read_flag, read_rating
from pipeline.scale import DEFAULT_SCALE, Scale

MIN_RATINGS = 10
"""Fewer ratings are no ground to refuse a file or to warn about it."""
_ERRORS_FRAC = 0.05
"""Share of ratings outside the scale of all others that can be errors."""
_STRAY_FRAC = 0.01
"""Share of extreme ratings that does not make a scale longer."""
_ROUNDING = 1e-6
_USUAL_HIGHS = (1, 2, 4, 5, 7, 10, 20, 50, 100)


@dataclass(frozen=True)
class Observed:
    """Ratings of the first records of a file, without missing values and those that mean "not rated"."""

    ratings: Counter[float]
    """Number of records by rating as written."""
    out_of: Counter[float]
    """Number of records by the highest rating that their spelling names, as in `4/5`."""
    num_flags: int = 0
    """Number of ratings that are true or false, which count as 1 and 0."""

    @classmethod
    def of(cls, values: Iterable[object], unrated: tuple[str, ...] = ()) -> Observed:
        """What is observed in the values of a stars field."""
        rule = RatingRule(unrated=unrated)
        ratings, out_of, flags, num_flags = Counter[float](), Counter[float](), Counter[float](), 0
        for word, count in Counter(as_word(v) for v in values).items():
            if word is None or rule.is_unrated(word):
                continue
            rating, flag = read_rating(word), read_flag(word)
            if flag is not None:
                rating = Rating(flag)
                flags[flag] += count
                num_flags += count
            if rating is not None:
                ratings[rating.value] += count
            if rating is not None and rating.out_of is not None:
                out_of[rating.out_of] += count
        if num_flags < (1 - _ERRORS_FRAC) * ratings.total():
            # Next to other ratings, true and false are none.
            ratings, num_flags = ratings - flags, 0
        return cls(ratings, out_of, num_flags)

    @property
    def count(self) -> int:
        """Number of ratings."""
        return self.ratings.total()

    @property
    def has_flags(self) -> bool:
        """Whether nearly all ratings are true or false."""
        return self.num_flags > 0

    def outside(self, scale: Scale) -> Counter[float]:
        """Number of records by rating, of the ratings that are not on a scale."""
        return Counter({r: n for r, n in self.ratings.items() if not scale.covers(r)})

    def named_high(self) -> float | None:
        """Highest rating that nearly all spellings name; None if they name none, or several."""
        high, times = max(self.out_of.items(), key=lambda item: item[1], default=(0.0, 0))
        return high if times and times >= (1 - _ERRORS_FRAC) * self.count else None

    def several_highs(self) -> list[tuple[float, int]]:
        """Highest ratings that many spellings name, and their number, the most frequent one first."""
        return [(high, n) for high, n in self.out_of.most_common() if n > _ERRORS_FRAC * self.count]


def guess_scale(observed: Observed) -> Scale | None:
    """The scale that ratings are certainly on; None if they fit several, as only 1 and 2 do."""
    if observed.has_flags:
        return Scale(0, 1)
    if observed.count < MIN_RATINGS:
        return None
    named, ratings = observed.named_high(), _without_strays(observed.ratings)
    if named is not None and named != DEFAULT_SCALE.high:
        steps = _scale_of_steps(ratings)
        return steps if steps and steps.high == named else out_of_scale(named)
    if named is not None:
        return DEFAULT_SCALE
    up_to_5 = [r for r in sorted(observed.ratings) if 0 <= r <= DEFAULT_SCALE.high]
    if sum(observed.ratings[r] for r in up_to_5) >= (1 - _ERRORS_FRAC) * observed.count:
        return _scale_of_tenths(up_to_5) or _guess_up_to_5(up_to_5)
    return _guess_beyond(ratings)


def _guess_up_to_5(ratings: list[float]) -> Scale | None:
    """Scale of ratings from 0 to 5, in ascending order."""
    low, high = ratings[0], ratings[-1]
    halves = all((2 * rating) % 1 == 0 for rating in ratings)
    if low == 0.5 and high > 1 and halves:
        return Scale(0.5, DEFAULT_SCALE.high)
    if high == DEFAULT_SCALE.high:
        # 0 next to 5 usually means "not rated".
        return DEFAULT_SCALE if halves and any(1 <= rating <= 2 for rating in ratings) else None
    return Scale(0, _usual_high(high)) if low < 1 else None


def _guess_beyond(ratings: list[float]) -> Scale | None:
    """Scale of ratings of which some are negative or above 5, in ascending order."""
    low, high = ratings[0], ratings[-1]
    if low == -1 and 1 in ratings and 0 not in ratings and DEFAULT_SCALE.low < high <= DEFAULT_SCALE.high:
        # -1 usually means "not rated".
        return DEFAULT_SCALE
    if low < 0:
        return Scale(-1, 1) if low >= -1 and high <= 1 else Scale(low, max(high, -low))
    steps = _scale_of_steps(ratings)
    if steps is not None:
        return steps
    if low >= 10 and high <= 50 and all(rating % 5 == 0 for rating in ratings):
        return Scale(10, 50)
    return Scale(0 if low < 1 else 1, _usual_high(high)) if high > DEFAULT_SCALE.high else None


def _scale_of_steps(ratings: list[float]) -> Scale | None:
    """Scale of 5 or 10 equal steps whose lowest rating is one step, such as 20 to 100 for widths of stars."""
    low, high = ratings[0], ratings[-1]
    has_steps = low > DEFAULT_SCALE.high and all(rating % low == 0 for rating in ratings)
    return Scale(low, high) if has_steps and high in (5 * low, 10 * low) else None


def _scale_of_tenths(ratings: list[float]) -> Scale | None:
    """Scale of 5 or 10 equal steps up to 1, such as 0.2, 0.4, 0.6, 0.8 and 1."""
    if len(ratings) < 3 or ratings[-1] != 1:
        return None
    steps = (low for low in (0.2, 0.1) if ratings[0] == low and _are_multiples(ratings, low))
    return next((Scale(low, 1) for low in steps), None)


def _are_multiples(ratings: list[float], step: float) -> bool:
    return all(abs(rating / step - round(rating / step)) < _ROUNDING for rating in ratings)


def _usual_high(high: float) -> float:
    return next((float(usual) for usual in _USUAL_HIGHS if high <= usual), high)


def _without_strays(ratings: Mapping[float, int]) -> list[float]:
    """Ratings in ascending order, without rare ones at both ends."""
    kept, spare = sorted(ratings), _STRAY_FRAC * sum(ratings.values())
    for end in (-1, 0):
        left = spare
        while len(kept) > 1 and ratings[kept[end]] <= left:
            left -= ratings[kept.pop(end)]
    return kept
