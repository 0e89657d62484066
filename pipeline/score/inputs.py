"""Input files of a scoring job: dumps, or a split of prepared data."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pydantic import JsonValue

from pipeline.config import InputConfig, LabelsConfig, digest
from pipeline.details import PrepareDetails
from pipeline.errors import InputError, ModelError, SettingError
from pipeline.ingest.clean.labels import WORDS
from pipeline.ingest.detect.sources import Found, encoded_sources, find_sources
from pipeline.model.card import ModelCard
from pipeline.model.classifier import Classifier
from pipeline.model.foreign import UNMAPPED
from pipeline.rundir.manifest import MANIFEST_FILE, RUN_FILE, read_manifest, read_run
from pipeline.storage.expand import expand_inputs
from pipeline.storage.location import Location, locate

_MODEL = "model"
"""Key in the settings of run.json for what determines the rows of a foreign model besides its files."""


def is_split(inputs: list[str]) -> bool:
    """Whether the input is a split of prepared data, such as OUTPUT/test."""
    if len(inputs) != 1 or locate(inputs[0]).name not in ("train", "val", "test"):
        return False
    return locate(inputs[0]).parent.child(MANIFEST_FILE).exists()


def find_input(
    inputs: list[str],
    config: InputConfig,
    outputs: Collection[Location],
    first: Sequence[str] = (),
    model: InputConfig | None = None,
    labels: LabelsConfig | None = None,
) -> Found:
    """Input files, and how to read each of them.

    Args:
        inputs: a split of prepared data, whose manifest lists the files, or dumps.
        outputs: directories that must not contain an input.
        first: URIs of the files that come first, in this order; other URIs in it are ignored.
        model: see detect.detect_file.
        labels: settings of the ratings, for warnings about them.
    Raises:
        InputError: see errors.py.
    """
    if is_split(inputs):
        split = locate(inputs[0])
        manifest = read_manifest(split.parent, PrepareDetails)
        files = [split.parent.child(o.path) for o in manifest.outputs if o.path.startswith(f"{split.name}/")]
        if not files:
            raise InputError(f"{split.uri}: this split has no rows")
        return Found(encoded_sources(files), [])
    places = {uri: number for number, uri in enumerate(first)}
    files = sorted(expand_inputs(inputs, outputs), key=lambda f: places.get(f.uri, len(places)))
    return find_sources(files, config, need_stars=False, labels=labels, model=model)


def inputs_of(output: Location, config: InputConfig) -> list[str]:
    """URIs of the inputs of an existing output, in the order that numbers its parts; empty without one."""
    if config.max_rows is not None:
        raise SettingError(f"input.max_rows={config.max_rows} cannot be combined with --extend; omit one")
    return [file.path for file in read_run(output).inputs] if output.child(RUN_FILE).exists() else []


def input_config(inputs: list[str], config: InputConfig, card: ModelCard) -> InputConfig:
    """Input settings for a model: those that determine the text are the model's own."""
    if is_split(inputs):
        # prepare has already filtered and joined its rows.
        return InputConfig(max_rejected_frac=config.max_rejected_frac, strict=config.strict)
    own = {"text_separator": card.text_separator, "unescape_html": card.unescape_html}
    return config.model_copy(update=own)


def with_columns_of(card: ModelCard, config: InputConfig) -> InputConfig | None:
    """Input settings, completed by the columns that the model was trained with; None if it has none."""
    columns = {"text": card.text and tuple(card.text), **card.columns}
    if card.header:
        columns["columns"] = tuple(card.header)
    missing = {name: value for name, value in columns.items() if value and getattr(config, name) is None}
    return config.model_copy(update=missing) if missing else None


def scored_labels(labels: LabelsConfig, card: ModelCard) -> LabelsConfig:
    """Settings of the ratings of a scored dump: those of the model, unless they are set explicitly."""
    if card.scheme == UNMAPPED:
        return labels
    if card.scheme == WORDS:
        return LabelsConfig.model_validate({"scheme": card.scheme, "words": card.labels})
    scale, unrated = labels.scale or card.scale, labels.unrated or card.unrated or None
    return LabelsConfig.model_validate({"scheme": card.scheme, "scale": scale, "unrated": unrated})


def recorded_revision(output: Location) -> str | None:
    """Commit of the model on the Hub that an existing output was begun with."""
    if not output.child(RUN_FILE).exists():
        return None
    recorded = read_run(output).settings.get(_MODEL)
    revision = recorded.get("revision") if isinstance(recorded, dict) else None
    return revision if isinstance(revision, str) else None


def foreign_settings(model: Classifier) -> dict[str, JsonValue]:
    """Settings for run.json of a model whose files do not contain them."""
    if not model.is_foreign:
        return {}
    card = model.card
    return {
        _MODEL: {
            "revision": model.revision,
            "max_length": card.max_length,
            "text_separator": card.text_separator,
            "unescape_html": card.unescape_html,
        }
    }


def check_tokenizer(data: Location, model: Classifier, tokenizer: str) -> None:
    """Raise ModelError unless the data were encoded with the tokenizer of the model.

    Args:
        tokenizer: content of its tokenizer.json.
    """
    encoded_with = read_manifest(data, PrepareDetails).model_fingerprint
    own: str | None = digest(tokenizer)
    if model.directory is not None and not model.is_foreign:
        own = read_run(model.directory).model_fingerprint
    if own != encoded_with:
        raise ModelError(
            f"{model.name}: its tokenizer differs from the one that encoded {data.uri}; score the dumps"
            " themselves, or prepare them again with the model's tokenizer"
        )
