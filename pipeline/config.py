"""Schema of all settings: one frozen, validated model. See settings.py for how settings are read.

The same dotted names (`train.learning_rate`) are used in TOML files, in `--set` and in manifests.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from pipeline.encodings import encoding_name
from pipeline.scale import DEFAULT_SCALE, Scale

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

Precision = Literal["auto", "float32", "bfloat16"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
NonEmpty = Annotated[str, Field(min_length=1)]
Encoding = Annotated[str, AfterValidator(encoding_name)]
"""Name of a text encoding; see encodings.py."""


def _as_name(value: object) -> object:
    """Text of a whole number, because columns can have numbers as names; any other value is unchanged."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


ColumnName = Annotated[str, Field(min_length=1), BeforeValidator(_as_name)]


def _split_names(value: object) -> object:
    """List of the comma-separated names in a text; any other value is unchanged."""
    value = _as_name(value)
    if not isinstance(value, str):
        return value
    if value.startswith("["):
        raise ValueError('not a TOML array; write ["a", "b"] (a shell removes quotes) or a,b')
    return tuple(name.strip() for name in value.split(",") if name.strip())


Names = Annotated[tuple[ColumnName, ...], BeforeValidator(_split_names), Field(min_length=1)]
"""One or more names, as an array or as comma-separated text."""


def _split_values(value: object) -> object:
    """As `_split_names`; a number is its spelling."""
    values = _split_names(value) if isinstance(value, (str, list, tuple)) else (value,)
    if not isinstance(values, (list, tuple)):
        return values
    return tuple(str(v) if isinstance(v, (int, float)) and not isinstance(v, bool) else v for v in values)


Values = Annotated[tuple[NonEmpty, ...], BeforeValidator(_split_values), Field(min_length=1)]
"""One or more values, numbers included, as an array or as comma-separated text."""


def _scale_name(value: object) -> object:
    return str(Scale.parse(value if isinstance(value, str) else repr(value)))


ScaleName = Annotated[str, BeforeValidator(_scale_name)]
"""Lowest and highest rating, as LOW-HIGH."""


def _split_map(value: object) -> object:
    """Names and values of the comma-separated items in a text; any other value is unchanged."""
    if not isinstance(value, str):
        return value
    items = [item.partition("=") for item in value.split(",") if item.strip()]
    if not all(equals for _, equals, _ in items):
        raise ValueError("write LABEL=CLASS,LABEL=CLASS")
    return {name.strip(): label.strip() for name, _, label in items}


LabelMap = Annotated[dict[NonEmpty, NonEmpty], BeforeValidator(_split_map), Field(min_length=1)]
"""Classes by label, as a table or as comma-separated text."""


class Section(BaseModel):
    """Frozen group of settings; an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class InputConfig(Section):
    """Columns and lines of the input that are read."""

    text: Names | None = None
    """Columns joined into the text; by default those of the format (summary and body)."""
    text_separator: str = " "
    unescape_html: bool = True
    """Replace HTML entities such as `&amp;` by their characters, and `<br />` by a space."""
    stars: ColumnName | None = None
    """Column of the stars, or of the label if `labels.scheme` is words; by default that of the format."""
    asin: ColumnName | None = None
    """Column of the product; by default that of the format, as for the next three."""
    user_id: ColumnName | None = None
    timestamp: ColumnName | None = None
    verified: ColumnName | None = None
    columns: Names | None = None
    """Column names, in order, of CSV files without a header."""
    quoted: bool | None = None
    """Whether fields of CSV files can be quoted; by default detected from the first lines."""
    escape: Annotated[str, Field(pattern=r"^([^\w\s]|none)$")] | None = None
    """Character of CSV files that makes the next quote, delimiter or line end text, such as a backslash
    (Spark, MySQL); none: there is none; by default detected from the first lines."""
    skip_unknown: bool = False
    """Leave out files that are not reviews, such as product metadata, instead of refusing the input."""
    encoding: Encoding | None = None
    """Encoding of text files, such as cp1252; by default UTF-8, or detected if the first lines are not."""
    max_rows: Count | None = None
    """Read only the first lines of the input, counted over its files in order."""
    chunk_bytes: Annotated[int, Field(ge=1024)] | None = None
    """Bytes of text in a chunk; by default chosen from the size of the input and the device."""
    max_line_bytes: Annotated[int, Field(ge=1 << 16)] = 1 << 20
    """Maximum size of a line; longer lines are rejected and never held in memory."""
    max_rejected_frac: Fraction = 0.05
    """Fraction of the lines of the whole input that may be rejected, not counting filters; a job stops as
    soon as it is certain to exceed it."""
    strict: bool = False
    """Stop at the first line that is rejected for an error, and at a damaged file."""
    null_text: Literal["reject", "skip"] = "reject"
    """Ratings without a text, which is absent, null or blank: reject counts them as errors, skip filters them
    out."""
    null_values: Values | None = None
    """Values of the text columns that mean "no text", such as nan and N/A; white space around them does not
    count, upper and lower case do."""
    verified_only: bool = False
    """Drop reviews marked as not verified; reviews without the mark are kept."""

    def of_run(self) -> dict[str, Any]:
        """Settings that the output depends on, for run.json.

        A setting that earlier versions lacked is left out at its default, so that their outputs can be
        resumed.
        """
        values = self.model_dump(mode="json", exclude={"max_rejected_frac", "strict", "skip_unknown"})
        return {n: v for n, v in values.items() if n not in _LATER or v != _LATER[n]}


_LATER = {"null_text": "reject", "null_values": None, "escape": None, "encoding": None}


class LabelsConfig(Section):
    """How stars become classes."""

    scheme: Literal["stars", "sentiment", "binary", "words"] = "stars"
    """words: the column `input.stars` contains words, such as pos and neg, instead of stars. By default
    binary with a scale of two values (0-1, 1-2, -1-1)."""
    words: Names | None = None
    """Words that are the classes, in order, if the scheme is words."""
    map: LabelMap | None = None
    """Classes of the labels of a model that jobs.train did not write, as LABEL=CLASS,LABEL=CLASS; by default
    those that the labels name. For evaluation only."""
    scale: ScaleName | None = None
    """Lowest and highest rating of the input, as LOW-HIGH, such as 0-4 or 1-10. A rating x has
    1 + 4·(x - LOW)/(HIGH - LOW) stars, unrounded. By default 1-5, in whole and half stars."""
    unrated: Values | None = None
    """Values of the stars column that mean "not rated", such as 0; these reviews are filtered out."""

    def rating_scale(self) -> Scale:
        """Scale of the ratings of the input."""
        return DEFAULT_SCALE if self.scale is None else Scale.parse(self.scale)

    @model_validator(mode="before")
    @classmethod
    def _two_values_are_binary(cls, data: object) -> object:
        if isinstance(data, dict) and isinstance(data.get("scale"), str) and "scheme" not in data:
            with suppress(ValueError):
                if Scale.parse(data["scale"]).is_two_valued:
                    return {**data, "scheme": "binary"}
        return data

    @model_validator(mode="after")
    def _words_fit(self) -> LabelsConfig:
        if self.words is not None and self.scheme != "words":
            raise ValueError(f"words={','.join(self.words)} needs labels.scheme=words; it is {self.scheme}")
        if self.words is not None and (len(set(self.words)) < max(2, len(self.words))):
            raise ValueError(f"words={','.join(self.words)}: name at least two, each once")
        if self.scheme == "words" and (self.scale is not None or self.unrated is not None):
            name = "scale" if self.scale is not None else "unrated"
            raise ValueError(f"{name} is for star ratings, but labels.scheme is words; omit labels.{name}")
        return self


class DedupConfig(Section):
    """Handling of reviews with equal texts.

    Texts are equal if they agree after Unicode normalization (NFKC), lowercasing and collapsing of white
    space. Lowercasing is not case folding: STRASSE and straße differ, as do ΟΔΟΣ and οδος.
    """

    enabled: bool = True
    """Keep only the first review of each text; otherwise keep all reviews."""
    conflict: Literal["majority", "drop"] = "majority"
    """If reviews with the same text have different classes: keep the first of the most frequent class, or
    none."""


class SplitConfig(Section):
    """How reviews are divided into train, val and test."""

    by: Literal["text", "user", "product", "time", "head"] = "text"
    """text: by a hash of the text, so that no text is in two splits. user, product: by a hash of the user or
    product, so that none is in two splits; a review without one is split by its text, and the card counts
    such reviews. time: by the dates below. head: the first rows are the test set.

    A review stays in its split when data are added. However, except with text, a different one of several
    reviews with equal texts may then be kept, in another split. With `dedup.enabled=false`, equal texts can
    be in several splits; the card counts them."""
    train_frac: Fraction = 0.8
    val_frac: Fraction = 0.1
    test_frac: Fraction = 0.1
    head_rows: Count = 1000
    """Number of usable rows at the start of the input that form the test set if `split.by` is head. They are
    counted before deduplication, so the test set is smaller if some of them have equal texts, or if a later
    review with the same text is kept. train_frac and val_frac divide the rest."""
    val_from: date | None = None
    """First day (UTC) of val if `split.by` is time; older reviews are in train."""
    test_from: date | None = None
    """First day (UTC) of test if `split.by` is time."""
    seed: int = 0

    @model_validator(mode="after")
    def _fractions_add_up(self) -> SplitConfig:
        total = self.train_frac + self.val_frac + self.test_frac
        if abs(total - 1) > 1e-9:
            raise ValueError(
                f"train_frac={self.train_frac} + val_frac={self.val_frac} + test_frac={self.test_frac}"
                f" is {total:.10g}, not 1"
            )
        if self.train_frac == 0 or self.val_frac == 0:
            raise ValueError(
                f"train_frac={self.train_frac} and val_frac={self.val_frac} must both be above 0:"
                " training needs both splits"
            )
        return self

    @model_validator(mode="after")
    def _dates_fit(self) -> SplitConfig:
        if self.by != "time":
            return self
        if self.val_from is None or self.test_from is None:
            raise ValueError("by=time needs split.val_from and split.test_from, for example 2018-01-31")
        if self.val_from >= self.test_from:
            raise ValueError(f"val_from={self.val_from} must be before test_from={self.test_from}")
        return self


class ModelConfig(Section):
    """Base model."""

    name: NonEmpty = DEFAULT_MODEL
    """Hub name or directory of the model to start from."""


class TokenizeConfig(Section):
    """Tokenization of texts."""

    max_length: Annotated[int, Field(ge=3)] = 128
    """Maximum number of tokens of a review, including special tokens; longer ones are truncated."""


class TrainConfig(Section):
    """Fine-tuning recipe."""

    num_workers: Count | None = None
    """Ray Train workers; by default one per GPU, or one per node without GPUs."""
    use_gpu: bool | None = None
    """Train on GPUs; by default if the cluster has any."""
    epochs: Count = 3
    max_steps: Count | None = None
    global_batch_rows: Count = 32
    """Number of rows in one optimizer step, over all workers."""
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    layer_lr_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Learning rate of an encoder layer relative to that of the layer above; 1: the same for all layers."""
    head_lr_factor: Annotated[float, Field(gt=0)] = 1.0
    """Learning rate of the new classification head relative to `learning_rate`."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup_ratio: Fraction = 0.1
    average_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of an exponential moving average of the weights, which is validated and saved; 0: no average."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    precision: Precision = "auto"
    """auto: bfloat16 if the device supports it natively, otherwise float32."""
    seed: int = 0
    checkpoint_every_steps: Count | None = None
    """Interval of additional checkpoints within an epoch; one is always written after each epoch."""
    best_by: Literal["loss", "accuracy", "macro_f1", "weighted_f1", "last"] = "loss"
    """Validation metric that selects the best epoch; last: use the last epoch."""
    early_stopping_epochs: Count = 2
    """Stop after this number of consecutive epochs without improvement."""
    max_failures: Annotated[int, Field(ge=-1)] = 3
    """Worker failures to recover from before the job fails; -1: unlimited."""


class ScoreConfig(Section):
    """Scoring of dumps."""

    num_actors: Count | None = None
    """Number of actors that hold the model; by default one per GPU, or one per CPU. With fewer actors than
    CPUs, each computes several chunks at once, one thread per chunk. The output does not depend on it."""
    precision: Precision = "auto"
    batch_tokens: Annotated[int, Field(ge=64)] | None = None
    """Number of tokens in one forward pass, including padding; by default 2,048 on a CPU and 65,536 on a GPU,
    or the fastest value that a long job measures."""
    compile: bool | None = None
    """Use torch.compile; by default only in a long job on a GPU, if that is faster."""


class CostConfig(Section):
    """Prices for the cost report at the end of a job."""

    per_device_hour: Annotated[float, Field(gt=0)] | None = None
    """Price of one GPU hour, or of one machine hour without GPUs, in any currency."""


class ClusterConfig(Section):
    """Ray cluster on which a job runs."""

    address: NonEmpty | None = None
    """Ray address; by default RAY_ADDRESS, then a running cluster on this machine, then a new one."""
    num_cpus: Count | None = None
    """Logical CPUs of a Ray cluster that the job starts; by default those of the machine."""
    storage_path: NonEmpty | None = None
    """Folder that all nodes of the cluster share; with several nodes, local paths must be inside it."""


class Config(Section):
    """All settings; see settings.load_config."""

    input: InputConfig = InputConfig()
    labels: LabelsConfig = LabelsConfig()
    dedup: DedupConfig = DedupConfig()
    split: SplitConfig = SplitConfig()
    model: ModelConfig = ModelConfig()
    tokenize: TokenizeConfig = TokenizeConfig()
    train: TrainConfig = TrainConfig()
    score: ScoreConfig = ScoreConfig()
    cluster: ClusterConfig = ClusterConfig()
    cost: CostConfig = CostConfig()

    def section(self, *names: str) -> dict[str, dict[str, Any]]:
        """Named sections as plain data, for a manifest."""
        return self.model_dump(mode="json", include=set(names))

    def digest(self) -> str:
        """SHA-256 of all settings, first 16 hex digits."""
        return digest(self.model_dump(mode="json"))

    def replace(self, **values: object) -> Config:
        """A copy with other values, given as `section__key=value`; validated again."""
        # Settings that were not given can depend on the new values.
        data = self.model_dump(exclude_unset=True)
        for name, value in values.items():
            section, key = name.split("__")
            data.setdefault(section, {})[key] = value
        return Config.model_validate(data)


def _known(recorded: object) -> object:
    """Recorded settings without those that this version lacks."""
    if not isinstance(recorded, dict):
        return recorded
    known = {name: type(section).model_fields for name, section in Config()}
    return {
        name: {key: value for key, value in values.items() if key in known[name]}
        if isinstance(values, dict)
        else values
        for name, values in recorded.items()
        if name in known
    }


RecordedConfig = Annotated[Config, BeforeValidator(_known)]
"""All settings as recorded in a manifest: absent ones have their defaults, unknown ones are ignored."""


def digest(data: object) -> str:
    """SHA-256 of plain data in canonical JSON, first 16 hex digits."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]
