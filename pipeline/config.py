"""Every setting of every stage: one frozen, validated model, and its loader.

The same dotted names (`train.learning_rate`) are used in TOML files, in `--set` and in manifests.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from pipeline.errors import SettingError
from pipeline.overrides import parse_item, split_items

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

Precision = Literal["auto", "float32", "bfloat16"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


NonEmpty = Annotated[str, Field(min_length=1)]


def _split_names(value: object) -> object:
    """The names in a text, which are separated by commas; anything else as it is."""
    if not isinstance(value, str):
        return value
    if value.startswith("["):
        raise ValueError('not a TOML array; write ["a", "b"] (a shell removes quotes) or a,b')
    return tuple(name.strip() for name in value.split(",") if name.strip())


Names = Annotated[tuple[NonEmpty, ...], BeforeValidator(_split_names), Field(min_length=1)]
"""One or more names, as an array or as one text with commas."""


class Section(BaseModel):
    """A frozen group of settings; an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class InputConfig(Section):
    """What is read, and which lines are let in."""

    text: Names | None = None
    """Columns joined into the text; by default the format's own (summary and body)."""
    text_separator: str = " "
    unescape_html: bool = True
    """Write out `&amp;` and the like in texts, and put a space in place of `<br />`."""
    stars: NonEmpty | None = None
    """Column of the stars, or of the label where `labels.scheme` is words; by default the format's own."""
    asin: NonEmpty | None = None
    """Column of the product; by default the format's own, as for the next three."""
    user_id: NonEmpty | None = None
    timestamp: NonEmpty | None = None
    verified: NonEmpty | None = None
    columns: Names | None = None
    """Names of the columns of CSV files that have no header, in order."""
    quoted: bool | None = None
    """Whether fields of CSV files may stand in quotes; by default told from the first lines."""
    max_rows: Count | None = None
    """Read only the first lines of the input, counted over its files in order."""
    chunk_bytes: Annotated[int, Field(ge=1024)] | None = None
    """Text in one unit of work; by default chosen once from the input's size and the device."""
    max_line_bytes: Annotated[int, Field(ge=1 << 16)] = 1 << 20
    """Longer lines are rejected, and never held in memory."""
    max_rejected_frac: Fraction = 0.05
    """Share of the whole input's lines that may be rejected, filters aside; a job stops as soon as it is
    plain that there are more."""
    strict: bool = False
    """Stop at the first line that is rejected for an error, and at a file that breaks off."""
    verified_only: bool = False
    """Leave out reviews marked as not verified; a line without the mark stays."""


class LabelsConfig(Section):
    """How stars become classes."""

    scheme: Literal["stars", "sentiment", "binary", "words"] = "stars"
    """words: the column `input.stars` holds a word, such as pos or neg, and no stars."""
    words: Names | None = None
    """The words that are the classes, in order, where the scheme is words."""

    @model_validator(mode="after")
    def _words_fit(self) -> LabelsConfig:
        if self.words is not None and self.scheme != "words":
            raise ValueError(f"words={','.join(self.words)} needs labels.scheme=words; it is {self.scheme}")
        if self.words is not None and (len(set(self.words)) < max(2, len(self.words))):
            raise ValueError(f"words={','.join(self.words)}: name at least two, each once")
        return self


class DedupConfig(Section):
    """What becomes of reviews with the same text, whatever their white space and Unicode's ways to write the
    same (NFKC), in lower case. That is no case folding: STRASSE and straße differ, as do ΟΔΟΣ and οδος."""

    enabled: bool = True
    """Keep one review of each text, the first; else all of them."""
    conflict: Literal["majority", "drop"] = "majority"
    """Where reviews of one text differ in their class: keep the first of the commonest class, or none."""


class SplitConfig(Section):
    """How reviews are shared out to train, val and test."""

    by: Literal["text", "user", "product", "time", "head"] = "text"
    """text: by a hash of the text, so no text is in two splits, and none moves when more data come. user,
    product: by a hash of who wrote it or what it is about, so neither is in two splits; a review without one
    goes by its text, and the card says how many do. time: by the dates below. head: the first rows are the
    test set.

    A review stays in its split when more data come, but for all values other than text the one that is kept
    of several with the same text may be another then, in another split. And with `dedup.enabled=false` the
    same text may be in several splits; the card says how many texts are."""
    train_frac: Fraction = 0.8
    val_frac: Fraction = 0.1
    test_frac: Fraction = 0.1
    head_rows: Count = 1000
    """Usable rows at the start of the input when `split.by` is head. They are counted before repeated texts
    are taken out, so the test set has fewer where some of them repeat each other, or where another than the
    first of a text is kept. The fractions of train and val share the rest."""
    val_from: date | None = None
    """First day (UTC) of val when `split.by` is time; what is older is for training."""
    test_from: date | None = None
    """First day (UTC) of test when `split.by` is time."""
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
                " training needs both"
            )
        return self

    @model_validator(mode="after")
    def _dates_fit(self) -> SplitConfig:
        if self.by != "time":
            return self
        if self.val_from is None or self.test_from is None:
            raise ValueError("by=time needs split.val_from and split.test_from, as 2018-01-31")
        if self.val_from >= self.test_from:
            raise ValueError(f"val_from={self.val_from} must be before test_from={self.test_from}")
        return self


class ModelConfig(Section):
    """The model to start from."""

    name: NonEmpty = DEFAULT_MODEL
    """A Hub name or a directory."""


class TokenizeConfig(Section):
    """How text becomes token ids."""

    max_length: Annotated[int, Field(ge=3)] = 128
    """Tokens kept of a review, special tokens included."""


class TrainConfig(Section):
    """The fine-tuning recipe."""

    num_workers: Count | None = None
    """Ray Train workers; by default one a GPU, or one a node where there is none."""
    use_gpu: bool | None = None
    """By default: whether the cluster has any."""
    epochs: Count = 3
    max_steps: Count | None = None
    global_batch_rows: Count = 32
    """Rows in one optimizer step, over all workers."""
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    layer_lr_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Learning rate of an encoder layer relative to that of the layer above it; 1: the same for all."""
    head_lr_factor: Annotated[float, Field(gt=0)] = 1.0
    """Learning rate of the new classification head relative to `learning_rate`."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup_ratio: Fraction = 0.1
    average_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Validate and keep a moving average of the weights, with this share of its past; 0: the weights."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    precision: Precision = "auto"
    """auto: bfloat16 where the device computes it natively, float32 elsewhere."""
    seed: int = 0
    checkpoint_every_steps: Count | None = None
    """Also write a checkpoint within an epoch; one is written after every epoch in any case."""
    best_by: Literal["loss", "accuracy", "macro_f1", "weighted_f1", "last"] = "loss"
    """The figure on the validation split by which the best epoch is chosen; last: the last one is kept."""
    early_stopping_epochs: Count = 2
    """Stop after so many epochs that were not better than the best."""
    max_failures: Annotated[int, Field(ge=-1)] = 3
    """Lost workers to recover from before giving up; -1: without end."""


class ScoreConfig(Section):
    """How a dump is scored."""

    num_actors: Count | None = None
    """Actors that hold the model; by default one per GPU, or one per CPU. With fewer on CPUs, each computes
    several chunks at once, each with one thread. The output does not depend on it."""
    precision: Precision = "auto"
    batch_tokens: Annotated[int, Field(ge=64)] | None = None
    """Padded tokens in one forward pass; by default 2,048 on a CPU and 65,536 on a GPU, or what a long job
    finds to be fastest."""
    compile: bool | None = None
    """torch.compile the model; by default only on a GPU, in a long job, if that is faster."""


class CostConfig(Section):
    """For the bill at the end of a job."""

    per_device_hour: Annotated[float, Field(gt=0)] | None = None
    """What an hour of a GPU costs, or of a machine where none is used, in any currency."""


class ClusterConfig(Section):
    """Where it runs."""

    address: NonEmpty | None = None
    """Ray address; by default RAY_ADDRESS, then a running cluster on this machine, then a new one."""
    num_cpus: Count | None = None
    """Logical CPUs of a Ray that the job starts by itself; by default the machine's."""
    storage_path: NonEmpty | None = None
    """A folder that every node of the cluster sees; local paths must lie in it when there are several."""


class Config(Section):
    """All settings; see `load_config`."""

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

    def section(self, *names: str) -> dict[str, Any]:
        """The named sections as plain data, for a manifest."""
        return self.model_dump(mode="json", include=set(names))

    def digest(self) -> str:
        """SHA-256 of all settings, first 16 hex digits."""
        return digest(self.model_dump(mode="json"))

    def replace(self, **values: Any) -> Config:
        """A copy with other values, given as `section__key=value`; validated again."""
        data = self.model_dump()
        for name, value in values.items():
            section, key = name.split("__")
            data[section][key] = value
        return Config.model_validate(data)


def digest(data: object) -> str:
    """SHA-256 of plain data in canonical JSON, first 16 hex digits."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def load_config(file: str | None = None, sets: Iterable[str] = (), **options: object) -> Config:
    """Read settings: defaults, then a TOML file, then `--set`, then a job's own options.

    Args:
        file: path of a TOML file, or None.
        sets: texts of `--set`, each with one or more settings (see overrides.py); the last of a name wins.
        options: `section__key=value` from a job's own options; None means not given.
    Raises:
        SettingError: the file is missing or not TOML, a name is unknown, a value does not fit, or `--set` and
            an option give different values.
    """
    data = {} if file is None else _read_toml(file)
    given = _read_sets(sets)
    for name, value in options.items():
        if value is not None:
            _add_option(given, name.replace("__", ".", 1), value)
    for name, value in given.items():
        section, _, key = name.partition(".")
        table = data.setdefault(section, {})
        # Else validation says that it must be a table.
        if isinstance(table, dict):
            table[key] = value
    where = "" if file is None else f" (from {file} and --set)"
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise SettingError(_explain(error) + where) from None


def _read_sets(sets: Iterable[str]) -> dict[str, object]:
    """The values that `--set` gives, by name."""
    given: dict[str, object] = {}
    for text in sets:
        for number, item in enumerate(split_items(text)):
            name, value = parse_item(item)
            if name not in setting_names():
                raise SettingError(f"--set {item.strip()}: {_unknown(name, follows_comma=number > 0)}")
            given[name] = value
    return given


def _add_option(given: dict[str, object], name: str, value: object) -> None:
    """Add the value of a job's own option; raise SettingError if `--set` gives another one."""
    if given.setdefault(name, value) != value:
        raise SettingError(
            f"--set {name}={given[name]}: the job's own option gives {value}; leave one of them out"
        )


def setting_names() -> list[str]:
    """Every dotted setting name."""
    return [
        f"{section}.{key}"
        for section, field in Config.model_fields.items()
        for key in field.annotation.model_fields  # type: ignore[union-attr]
    ]


def _read_toml(file: str) -> dict[str, object]:
    try:
        return tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingError(f"--config {file}: no such file") from None
    except OSError as error:
        raise SettingError(f"--config {file}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"--config {file}: not valid TOML: {error}") from None


def _unknown(name: str, *, follows_comma: bool = False) -> str:
    known = setting_names()
    close = difflib.get_close_matches(name, known, n=1) or [
        k for k in known if k.partition(".")[2] == name.rpartition(".")[2]
    ]
    if close:
        return f"unknown setting {name}; did you mean {close[0]}?"
    quote = "if it belongs to the value before it, put that in quotes; " if follows_comma else ""
    return f"unknown setting {name}; {quote}the names are {', '.join(known)}"


def _unknown_section(name: str, value: object) -> str:
    if name in setting_names():
        return f'unknown section "{name}"; leave out the quotes'
    if not isinstance(value, dict):
        return _unknown(name)
    known = list(Config.model_fields)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"they are {', '.join(known)}"
    return f"unknown section {name}; {hint}"


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"][:2])
    if first["type"] == "extra_forbidden":
        return _unknown(name) if len(first["loc"]) > 1 else _unknown_section(name, first["input"])
    if first["type"] == "model_type":
        return f"{name}={first['input']}: [{name}] must be a table"
    reason = first["msg"].removeprefix("Value error, ")
    if isinstance(first["input"], Mapping):
        return f"{name}: {reason}"
    return f"{name}={first['input']}: {reason}"
