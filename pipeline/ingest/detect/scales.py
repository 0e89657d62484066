"""The rating scale of a file, guessed from the ratings of its first records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from pipeline.config import LabelsConfig
from pipeline.errors import InputError, ScaleError
from pipeline.humanize import counted
from pipeline.ingest.parse.columns import as_word
from pipeline.ingest.parse.stars import RatingRule, out_of_scale, read_rating
from pipeline.scale import DEFAULT_SCALE, Scale, plain

_MIN_RATINGS = 10
"""Fewer ratings are no ground to refuse a file or to warn about it."""
_MANY_RATINGS = 50
"""Number of ratings among which 5 stars do not occur only if the scale ends below them."""
_ERRORS_FRAC = 0.05
"""Share of ratings outside the scale of all others that can be errors."""
_STRAY_FRAC = 0.01
"""Share of extreme ratings that does not make a scale longer."""
_USUAL_HIGHS = (1, 2, 4, 5, 7, 10, 20, 50, 100)
_NOT_RATED = 'labels.unrated=0 if 0 means "not rated"'


@dataclass(frozen=True)
class Observed:
    """Ratings of the first records of a file, without missing values and those that mean "not rated"."""

    ratings: Counter[float]
    """Number of records by rating as written."""
    out_of: Counter[float]
    """Number of records by the highest rating that their spelling names, as in `4/5`."""

    @classmethod
    def of(cls, values: Iterable[object], unrated: tuple[str, ...] = ()) -> Observed:
        """What is observed in the values of a stars field."""
        rule, found = RatingRule(unrated=unrated), cls(Counter(), Counter())
        for word, count in Counter(as_word(v) for v in values).items():
            rating = None if word is None or rule.is_unrated(word) else read_rating(word)
            if rating is not None:
                found.ratings[rating.value] += count
            if rating is not None and rating.out_of is not None:
                found.out_of[rating.out_of] += count
        return found

    @property
    def count(self) -> int:
        """Number of ratings."""
        return self.ratings.total()

    def outside(self, scale: Scale) -> Counter[float]:
        """Number of records by rating, of the ratings that are not on a scale."""
        return Counter({r: n for r, n in self.ratings.items() if not scale.covers(r)})

    def named_high(self) -> float | None:
        """Highest rating that nearly all spellings name; None if they name none, or several."""
        high, times = max(self.out_of.items(), key=lambda item: item[1], default=(0.0, 0))
        return high if times and times >= (1 - _ERRORS_FRAC) * self.count else None


def guess_scale(observed: Observed) -> Scale | None:
    """The scale that ratings are certainly on; None if they fit several, as only 1 and 2 do."""
    if observed.count < _MIN_RATINGS:
        return None
    named, ratings = observed.named_high(), _without_strays(observed.ratings)
    if named is not None and named != DEFAULT_SCALE.high:
        steps = _scale_of_steps(ratings)
        return steps if steps and steps.high == named else out_of_scale(named)
    if named is not None:
        return DEFAULT_SCALE
    up_to_5 = [r for r in sorted(observed.ratings) if 0 <= r <= DEFAULT_SCALE.high]
    if sum(observed.ratings[r] for r in up_to_5) >= (1 - _ERRORS_FRAC) * observed.count:
        return _guess_up_to_5(up_to_5)
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


def check_scale(uri: str, column: str, observed: Observed, labels: LabelsConfig) -> Scale | None:
    """The scale of a file, if it is certain.

    Raises:
        ScaleError: most ratings would get wrong stars, or none.
    """
    guess = guess_scale(observed)
    problem = _problem(column, observed, labels, guess)
    if problem:
        raise ScaleError(f"{uri}: {problem}", guess)
    return guess


def _problem(column: str, observed: Observed, labels: LabelsConfig, guess: Scale | None) -> str | None:
    """Why the ratings cannot be used with the settings, and what to set."""
    if observed.count < _MIN_RATINGS:
        return None
    seen, scale = f"{column} has {_span(observed.ratings)}", labels.rating_scale()
    outside = observed.outside(scale)
    if labels.scale is None and guess is not None and guess != DEFAULT_SCALE:
        return f"{seen}, not stars from 1 to 5; set labels.scale={guess}{_remedy_for_0(guess, observed)}"
    if 2 * outside.total() > observed.count and scale.halves_only:
        example = plain(outside.most_common(1)[0][0])
        return f"{seen}, such as {example}; a column of averages? name that of the ratings with input.stars=…"
    if 2 * outside.total() > observed.count:
        return f"{seen}, but labels.scale={scale}" + (f"; set labels.scale={guess}" if guess else "")
    ends = {scale.low, scale.high}
    if scale.is_two_valued and labels.scheme in ("stars", "sentiment") and ends.issuperset(observed.ratings):
        return (
            f"{column} has only two ratings, which leaves classes of labels.scheme={labels.scheme} empty; set"
            " labels.scheme=binary"
        )
    return None


def _remedy_for_0(guess: Scale, observed: Observed) -> str:
    return f", or {_NOT_RATED}" if observed.ratings[0] and guess.low == 0 and guess.high > 1 else ""


def _span(ratings: Collection[float]) -> str:
    values = sorted(ratings)
    if len(values) <= 3:
        return f"the ratings {', '.join(map(plain, values))}"
    return f"ratings from {plain(values[0])} to {plain(values[-1])}"


def scale_warnings(
    column: str, values: Iterable[object], labels: LabelsConfig, *, need_stars: bool = True
) -> list[str]:
    """Sentences about ratings that may be on another scale than the settings say.

    Args:
        values: of the stars field in the first records.
        need_stars: whether `check_scale` refuses what it can; otherwise that is a warning, too.
    """
    if labels.scheme == "words":
        return []
    observed, scale = Observed.of(values, labels.unrated or ()), labels.rating_scale()
    problem = _problem(column, observed, labels, guess_scale(observed))
    if problem:
        return [] if need_stars else [problem]
    return [*_outside_warnings(column, observed, scale), *_narrow_warnings(column, observed, scale)]


def _outside_warnings(column: str, observed: Observed, scale: Scale) -> list[str]:
    outside, warnings, total = observed.outside(scale), [], counted(observed.count, "rating")
    zeros = outside.pop(0, 0)
    if zeros and scale.low > 0:
        warnings.append(
            f"{column}: {zeros:,} of the first {total} are 0, which is not on the scale {scale}; set"
            f" {_NOT_RATED}, or labels.scale=0-{plain(scale.high)}"
        )
    if outside:
        example = plain(outside.most_common(1)[0][0])
        warnings.append(
            f"{column}: {outside.total():,} of the first {total} are not on the scale {scale}, for example"
            f" {example}; if the dump has another scale, set labels.scale=LOW-HIGH"
        )
    return warnings


def _narrow_warnings(column: str, observed: Observed, scale: Scale) -> list[str]:
    """A warning if no rating is near the upper end of the scale."""
    narrow = narrower_scale(observed, scale)
    if narrow is None:
        return []
    inside = sorted(r for r in observed.ratings if scale.covers(r))
    return [
        f"{column}: the first {counted(observed.count, 'rating')} are {plain(inside[0])} to"
        f" {plain(inside[-1])} on the scale {scale}; if the scale ends there, set labels.scale={narrow}"
    ]


def narrower_scale(observed: Observed, scale: Scale) -> Scale | None:
    """The scale that ends at the highest rating, if that is far below the end of `scale`; else None."""
    inside = sorted(r for r in observed.ratings if scale.covers(r))
    if len(inside) < 2 or observed.count < _MIN_RATINGS or observed.named_high() == scale.high:
        return None
    high, middle = inside[-1], (scale.low + scale.high) / 2
    is_far = high < middle or (
        high < scale.high and scale == DEFAULT_SCALE and observed.count >= _MANY_RATINGS
    )
    return Scale(scale.low, high) if is_far else None


def check_same_scale(found: Iterable[tuple[str, Scale | None]], labels: LabelsConfig) -> None:
    """Raise InputError if files are certainly on different scales.

    Args:
        found: URI and scale of each file; None if it is not certain.
    """
    known = [(uri, scale) for uri, scale in found if scale is not None]
    fitting = [(u, s) for u, s in known if _kind(s) == _kind(labels.rating_scale())]
    for uri, scale in known:
        first, other = (fitting or known)[0]
        if _kind(scale) != _kind(other):
            raise InputError(
                f"{uri}: its ratings are on the scale {scale}, but those of {first} are on {other}; use these"
                " files in separate jobs, or convert one of them"
            )


def _kind(scale: Scale) -> tuple[float, bool]:
    """What differs between scales of different files; the lowest rating may just be missing in the sample."""
    return scale.high, scale.low < 0
