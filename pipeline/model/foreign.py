"""Classifiers that jobs.train did not write: sequence classifiers of transformers with safe weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError
from pipeline.model.card import Activation, ModelCard, Problem
from pipeline.model.hub import read_model_config

UNMAPPED = "unmapped"
"""Scheme of a classifier whose labels are not yet those of the truth; evaluation maps them."""

MAX_LENGTH = 512
"""Maximum number of tokens of a row if no other is set; less if the model supports less."""

_HEAD = "ForSequenceClassification"
_PROBLEMS: dict[str, Problem] = {
    "single_label_classification": "single_label",
    "multi_label_classification": "multi_label",
    "regression": "regression",
}
_OFFSET_POSITIONS = ("roberta", "camembert", "mpnet", "xmod", "data2vec-text", "longformer", "luke", "esm")
"""Parts of the names of model types whose positions start after the padding ID."""


def foreign_card(
    name: str, directory: Path, *, max_length: int | None, text_separator: str, unescape_html: bool
) -> ModelCard:
    """Card of a sequence classifier, from its config.json.

    Args:
        name: as the user wrote it.
        max_length: maximum number of tokens of a row; None: that of the model, but at most MAX_LENGTH.
        text_separator: joins the columns of the text.
        unescape_html: whether HTML entities in texts are decoded.
    Raises:
        ModelError: the model has no classification head, needs its own code, has labels that cannot be
            columns, or supports fewer tokens.
    """
    config = read_model_config(directory)
    _check_head(name, config)
    labels, limit = _labels(name, config), _limit(config)
    if max_length is not None and limit is not None and max_length > limit:
        raise ModelError(
            f"model {name}: tokenize.max_length={max_length}, but it takes at most {limit} tokens"
        )
    problem, activation = _outputs(name, config, len(labels))
    return ModelCard(
        base_model=name,
        labels=labels,
        scheme=UNMAPPED,
        stars_to_label={},
        max_length=max_length or min(limit or MAX_LENGTH, MAX_LENGTH),
        text=None,
        text_separator=text_separator,
        unescape_html=unescape_html,
        data_fingerprint="unknown",
        problem=problem,
        activation=activation,
    )


def _check_head(name: str, config: Mapping[str, Any]) -> None:
    architectures = [str(a) for a in config.get("architectures") or ()]
    if not any(a.endswith(_HEAD) for a in architectures):
        found = f" ({', '.join(architectures)})" if architectures else ""
        raise ModelError(
            f"model {name}: no classification head{found}; --model needs a sequence classifier: one of the"
            " Hub, or the output of jobs.train"
        )
    if any(str(auto).endswith(_HEAD) for auto in config.get("auto_map") or ()) and not _is_known(config):
        raise ModelError(f"model {name}: needs its own code, which is never run; use another model")


def _is_known(config: Mapping[str, Any]) -> bool:
    """Whether transformers itself has the code of a model."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return config.get("model_type") in CONFIG_MAPPING_NAMES


def _labels(name: str, config: Mapping[str, Any]) -> list[str]:
    """Names of the outputs, in their order; those of transformers without names."""
    given = config.get("id2label")
    if not given:
        return [f"LABEL_{i}" for i in range(int(config.get("num_labels", 2)))]
    labels = [str(label) for _, label in sorted(given.items(), key=lambda item: int(item[0]))]
    repeated = [label for label, count in Counter(labels).items() if count > 1]
    if repeated:
        raise ModelError(
            f"model {name}: {Counter(labels)[repeated[0]]} of its outputs are named {repeated[0]!r}; give"
            " them different names in id2label of its config.json"
        )
    return labels


def _limit(config: Mapping[str, Any]) -> int | None:
    """Maximum number of tokens that a model supports; None if it has no limit."""
    positions = config.get("max_position_embeddings") or config.get("n_positions")
    if not isinstance(positions, int) or positions <= 0:
        return None
    model_type = str(config.get("model_type"))
    offset = any(part in model_type for part in _OFFSET_POSITIONS)
    return positions - int(config.get("pad_token_id") or 0) - 1 if offset else positions


def _outputs(name: str, config: Mapping[str, Any], count: int) -> tuple[Problem, Activation]:
    """Problem and activation, as in transformers' text classification pipeline."""
    given = config.get("problem_type")
    if given is not None and given not in _PROBLEMS:
        known = ", ".join(_PROBLEMS)
        raise ModelError(f"model {name}: problem_type={given!r} in its config.json; use one of {known}")
    problem: Problem = _PROBLEMS[given] if given else "single_label"
    if problem == "regression":
        if count != 1:
            raise ModelError(f"model {name}: a regression with {count} outputs; only one is supported")
        return problem, "none"
    return problem, "sigmoid" if problem == "multi_label" or count == 1 else "softmax"
