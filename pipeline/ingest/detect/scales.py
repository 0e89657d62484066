"""Checks of the ratings of a file against the rating scale of the settings."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.config import LabelsConfig
from pipeline.errors import InputError, ScaleError
from pipeline.humanize import counted
from pipeline.ingest.detect.scale_guess import MIN_RATINGS, Observed, guess_scale
from pipeline.scale import DEFAULT_SCALE, Scale, plain

_MANY_RATINGS = 50
"""Number of ratings among which all classes occur, unless the scale is another one."""
_NOT_RATED = 'labels.unrated=0 if 0 means "not rated"'


def check_scale(uri: str, column: str, observed: Observed, labels: LabelsConfig) -> Scale | None:
    """The scale of a file, if it is certain.

    Raises:
        ScaleError: most ratings would get wrong stars, or none.
    """
    guess = guess_scale(observed)
    problem = _problem(column, observed, labels, guess)
    if problem:
        raise ScaleError(f"{uri}: {problem}", None if len(observed.several_highs()) > 1 else guess)
    return guess


def _problem(column: str, observed: Observed, labels: LabelsConfig, guess: Scale | None) -> str | None:
    """Why the ratings cannot be used with the settings, and what to set."""
    if observed.count < MIN_RATINGS and not observed.has_flags:
        return None
    seen, scale = f"{column} has {_span(observed)}", labels.rating_scale()
    if labels.scale is None and len(highs := observed.several_highs()) > 1:
        named = ", ".join(f"{n:,} out of {plain(high)}" for high, n in highs)
        return f"{column} has ratings of several scales ({named}); convert them to one scale"
    outside = observed.outside(scale)
    if labels.scale is None and guess is not None and guess != DEFAULT_SCALE:
        remedy = _remedy_for_0(guess, observed) or _remedy_for_high(guess, observed)
        return f"{seen}, not stars from 1 to 5; set labels.scale={guess}{remedy}"
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


def _remedy_for_high(guess: Scale, observed: Observed) -> str:
    low, high = min(observed.ratings), max(observed.ratings)
    if low == high or not _is_high(guess, low):
        return ""
    return f", or labels.scale={Scale(low, high)} if no rating is below {plain(low)}"


def _is_high(scale: Scale, low: float) -> bool:
    """Whether a lowest rating is so high that no review would be negative."""
    return scale != DEFAULT_SCALE and low > (scale.low + scale.high) / 2


def _span(observed: Observed) -> str:
    if observed.has_flags:
        return "the values true and false"
    values = sorted(observed.ratings)
    if len(values) == 1:
        return f"only the rating {plain(values[0])}"
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
    for value, other in ((0, f", or labels.scale=0-{plain(scale.high)}"), (-1, "")):
        times = outside.pop(value, 0)
        if times and scale.low > 0:
            warnings.append(
                f"{column}: {times:,} of the first {total} are {value}, which is not on the scale {scale};"
                f' set labels.unrated={value} if {value} means "not rated"{other}'
            )
    if outside:
        example = plain(outside.most_common(1)[0][0])
        warnings.append(
            f"{column}: {outside.total():,} of the first {total} are not on the scale {scale}, for example"
            f" {example}; if the dump has another scale, set labels.scale=LOW-HIGH"
        )
    return warnings


def _narrow_warnings(column: str, observed: Observed, scale: Scale) -> list[str]:
    """A warning if no rating is near the upper end of the scale, or near the lower one."""
    inside = sorted(r for r in observed.ratings if scale.covers(r))
    narrow, where = narrower_scale(observed, scale), "ends"
    if narrow is None and len(inside) > 1 and observed.count >= _MANY_RATINGS and _is_high(scale, inside[0]):
        narrow, where = Scale(inside[0], scale.high), "starts"
    if narrow is None:
        return []
    return [
        f"{column}: the first {counted(observed.count, 'rating')} are {plain(inside[0])} to"
        f" {plain(inside[-1])} on the scale {scale}; if the scale {where} there, set labels.scale={narrow}"
    ]


def narrower_scale(observed: Observed, scale: Scale) -> Scale | None:
    """The scale that ends at the highest rating, if that is far below the end of `scale`; else None."""
    inside = sorted(r for r in observed.ratings if scale.covers(r))
    if len(inside) < 2 or observed.count < MIN_RATINGS or observed.named_high() == scale.high:
        return None
    high, middle = inside[-1], (scale.low + scale.high) / 2
    is_far = high < middle or (
        high < scale.high and scale == DEFAULT_SCALE and observed.count >= _MANY_RATINGS
    )
    # A scale ends with a whole number; halves below it are probably averages.
    return Scale(scale.low, high) if is_far and high % 1 == 0 else None


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
