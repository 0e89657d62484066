"""The rating scale of a scored dump: that of the model, unless another one is set."""

from __future__ import annotations

from pipeline.config import LabelsConfig
from pipeline.ingest.clean.labels import WORDS
from pipeline.score.inputs import scored_labels
from tests.runs import CARD


def test_a_scale_that_is_set_for_scoring_replaces_that_of_the_model() -> None:
    card = CARD.model_copy(update={"scale": "1-10", "unrated": ["0"]})
    own = scored_labels(LabelsConfig(), card)
    assert (own.scale, own.unrated, own.scheme) == ("1-10", ("0",), "stars")
    given = scored_labels(LabelsConfig.model_validate({"scale": "0-4", "unrated": 9}), card)
    assert (given.scale, given.unrated, given.scheme) == ("0-4", ("9",), "stars")


def test_models_without_a_scale_keep_the_default() -> None:
    assert scored_labels(LabelsConfig(), CARD).scale is None
    of_words = scored_labels(LabelsConfig(scale="1-10"), CARD.model_copy(update={"scheme": WORDS}))
    assert (of_words.scheme, of_words.words, of_words.scale) == (WORDS, ("1", "2"), None)
