"""Labels of a model that jobs.train did not write: which class of a label scheme each one is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.errors import InputError, SettingError
from pipeline.ingest.clean.labels import LabelScheme, label_scheme

_STARS = re.compile(r"(?:stars?[\s_-]*)?([1-5])(?:[\s_-]*stars?)?", re.IGNORECASE)
_WORDS = {
    **dict.fromkeys(("positive", "pos"), "positive"),
    **dict.fromkeys(("negative", "neg"), "negative"),
    **dict.fromkeys(("neutral", "neu"), "neutral"),
    **{
        f"{word} star{'s' * (n > 1)}": str(n)
        for n, word in enumerate(["one", "two", "three", "four", "five"], 1)
    },
}
_SCHEMES = ("stars", "sentiment", "binary")
_SETTING = "labels.map"


@dataclass(frozen=True)
class MappedLabels:
    """Classes of the labels of a model."""

    scheme: LabelScheme
    names: tuple[str, ...]
    """Label of the model for each class of the scheme."""

    @property
    def map(self) -> dict[str, str]:
        """Label of the model → class."""
        return dict(zip(self.names, self.scheme.labels, strict=True))

    def __str__(self) -> str:
        return ", ".join(f"{name} = {label}" for name, label in self.map.items())


def own_labels(scheme: LabelScheme) -> MappedLabels:
    """Labels of a model that jobs.train wrote, which are the classes."""
    return MappedLabels(scheme, scheme.labels)


def map_labels(labels: Sequence[str], given: Mapping[str, str] | None) -> MappedLabels:
    """Classes of the labels of a foreign model.

    Args:
        labels: in the order of the outputs of the model.
        given: classes by label, which have precedence over those that the names tell.
    Raises:
        SettingError: `given` names other labels.
        InputError: the class of a label is not known, two labels have the same class, or the classes are not
            those of a label scheme.
    """
    other = sorted(set(given or ()) - {*labels})
    if other:
        raise SettingError(f"{_SETTING} names {other[0]}; the labels of the model are {', '.join(labels)}")
    classes = {label: (given or {}).get(label) or class_of(label) for label in labels}
    unknown = [label for label, name in classes.items() if name is None]
    if unknown:
        example = ",".join(f"{label}=…" for label in labels)
        raise InputError(
            f"the labels of the model are {', '.join(labels)}, and the class of {unknown[0]} is not known;"
            f" set {_SETTING}={example!r} with the classes 1 to 5, or negative, neutral and positive"
        )
    by_class: dict[str, str] = {}
    for label, name in classes.items():
        assert name is not None
        if name in by_class:
            raise InputError(
                f"the labels {by_class[name]} and {label} of the model are both {name}; set {_SETTING}"
            )
        by_class[name] = label
    for scheme in map(label_scheme, _SCHEMES):
        if set(scheme.labels) == set(by_class):
            return MappedLabels(scheme, tuple(by_class[name] for name in scheme.labels))
    raise InputError(
        f"the labels of the model are the classes {', '.join(by_class)}; metrics need 1 to 5, or negative and"
        f" positive, with or without neutral; set {_SETTING}"
    )


def class_of(label: str) -> str | None:
    """Class that the name of a label tells: `5 stars` is 5, `POS` is positive; None for `LABEL_0`."""
    text = label.strip().lower()
    stars = _STARS.fullmatch(text)
    return stars[1] if stars else _WORDS.get(text)
