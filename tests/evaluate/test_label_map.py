"""Labels of models that jobs.train did not write, as classes of the truth."""

from __future__ import annotations

import pytest

from pipeline.errors import InputError, SettingError
from pipeline.evaluate.label_map import map_labels
from pipeline.settings import load_config

LABELS = ["LABEL_0", "LABEL_1"]


@pytest.mark.parametrize(
    ("labels", "scheme", "names"),
    [
        (["1 star", "2 stars", "3 stars", "4 stars", "5 stars"], "stars", None),
        (["5", "4", "3", "2", "1"], "stars", ("1", "2", "3", "4", "5")),
        (["star_1", "STARS-2", "3_stars", "4stars", "Five Stars"], "stars", None),
        (["POSITIVE", "NEGATIVE"], "binary", ("NEGATIVE", "POSITIVE")),
        (["neg", "pos"], "binary", None),
        (["Positive", "Neutral", "Negative"], "sentiment", ("Negative", "Neutral", "Positive")),
    ],
)
def test_names_tell_the_classes(labels: list[str], scheme: str, names: tuple[str, ...] | None) -> None:
    mapped = map_labels(labels, None)
    assert (mapped.scheme.name, mapped.names) == (scheme, names or tuple(labels))
    assert list(mapped.map.values()) == list(mapped.scheme.labels)


def test_the_setting_has_precedence() -> None:
    given = load_config(None, ["labels.map=LABEL_0=positive,LABEL_1=negative"]).labels.map
    assert given == {"LABEL_0": "positive", "LABEL_1": "negative"}
    mapped = map_labels(LABELS, given)
    assert str(mapped) == "LABEL_1 = negative, LABEL_0 = positive"
    # Labels whose names tell their class need no mention.
    assert map_labels(["bad", "POSITIVE"], {"bad": "negative"}).names == ("bad", "POSITIVE")


@pytest.mark.parametrize(
    ("labels", "given", "message"),
    [
        (
            LABELS,
            None,
            r"the class of LABEL_0 is not known; set labels\.map='LABEL_0=…,LABEL_1=…'",
        ),
        (["pos", "neg", "mixed"], None, "the class of mixed is not known"),
        (["pos", "positive"], None, "the labels pos and positive of the model are both positive"),
        (["1", "2", "3"], None, "the labels of the model are the classes 1, 2, 3; metrics need 1 to 5, or"),
        (LABELS, {"LABEL_0": "good", "LABEL_1": "bad"}, "the labels of the model are the classes good, bad;"),
    ],
)
def test_unclear_labels_are_refused(labels: list[str], given: dict[str, str] | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        map_labels(labels, given)


def test_unknown_names_in_the_setting_are_refused() -> None:
    with pytest.raises(
        SettingError, match=r"labels\.map names good; the labels of the model are LABEL_0, LABEL_1"
    ):
        map_labels(LABELS, {"good": "positive"})
    with pytest.raises(SettingError, match=r"labels\.map=.*write LABEL=CLASS,LABEL=CLASS"):
        load_config(None, ["labels.map=positive"])
