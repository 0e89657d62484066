"""Stage-specific fields of manifests, which are the contract between stages.

Stages read each other's manifests but never import each other, so these classes are in a separate module
below all stages. A new field needs a default, because manifests of earlier versions lack it.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from pipeline.metrics.schema import MetricsFile
from pipeline.rundir.manifest import Details
from pipeline.rundir.record import OptionalFields, Record
from pipeline.scale import DEFAULT_SCALE


class FileColumns(Record):
    """Columns that were read from an input file."""

    text: list[str]
    """Columns joined to the text, in order."""
    stars: str | None
    also_read: dict[str, str]
    """Name in the output → column of the file."""
    unused: list[str]
    """Columns seen in the first records that are not read."""
    chosen_by: str
    """`the settings`, `the model`, or the name of the known format."""


class PrepareDetails(Details):
    """Labels, formats and data card of prepared rows."""

    stage: ClassVar[str] = "prepare"

    labels: list[str]
    """Names of the classes, in order."""
    scale: str = str(DEFAULT_SCALE)
    """Scale of the ratings of the input, as LOW-HIGH."""
    formats: dict[str, str]
    """URI of each input file → its format."""
    columns: dict[str, FileColumns] = Field(default_factory=dict)
    """URI of each input file → its columns."""
    warnings: list[str] = Field(default_factory=list)
    """One sentence for each suspicious fact about an input file, and for each file left out."""
    lines: int
    rows: int
    rejected: dict[str, int]
    """Number of rejected lines by reason."""
    rows_by_label: dict[str, dict[str, int]]
    """Number of rows by split and class."""
    rows_by_stars: dict[str, dict[str, int]]
    """Number of rows by split and nearest whole stars, 1 to 5."""
    tokens: int
    length_quantiles: dict[str, int]
    """Quantile in (0, 1] → number of tokens of a row before truncation."""
    length_histogram: dict[str, int]
    """Number of rows by number of tokens before truncation."""
    max_length: int
    truncated_rows: int
    truncated_frac: float
    cut_tokens: int
    """Number of tokens that truncation removed."""
    cut_tokens_frac: float
    texts: int
    """Number of distinct texts."""
    repeated_rows: int
    """Number of rows whose text occurred before."""
    most_repeats: int
    """Number of occurrences of the most frequent text."""
    texts_with_conflicting_stars: int
    texts_in_several_splits: int
    random_split_leak_frac: float
    """Expected share of the test rows of a random split whose text is also in its training rows."""
    first_day: str | None
    last_day: str | None
    split_by: str
    rows_without_key: int
    """Number of rows without the user or product by which they are split, duplicates included."""
    broken: list[str]
    """One sentence for each file that could not be read to its end."""


class EpochRecord(Record):
    """Losses and metrics of one epoch."""

    epoch: int
    """Number of the epoch, from 0."""
    step: int
    """Number of optimizer steps up to the end of the epoch, over all epochs."""
    train_loss: float
    val_loss: float
    val_accuracy: float
    val_macro_f1: float
    val_weighted_f1: float
    seconds: float


class TrainDetails(Details):
    """Result of training."""

    stage: ClassVar[str] = "train"

    rows: dict[str, int]
    """Number of rows by split."""
    num_workers: int
    use_gpu: bool
    precision: str
    steps: int
    best_epoch: int
    """Index into `history`."""
    best_by: str
    history: list[EpochRecord]

    @property
    def best(self) -> EpochRecord:
        """Epoch whose weights were kept."""
        return self.history[self.best_epoch]


Rounded = Annotated[float, AfterValidator(lambda value: float(f"{value:.6g}"))]
"""Measured number, rounded to six significant digits."""


class StepSeconds(Record):
    """Seconds in each step of scoring, over all workers of the step."""

    encode: Rounded
    score: Rounded
    write: Rounded


class Bill(OptionalFields):
    """Cost of the chunks that one job scored."""

    rows: int
    rows_per_s: Rounded
    """Rate from the first row at a model to the last, which excludes startup of processes."""
    tokens_per_s: Rounded
    padding_frac: Rounded
    """Share of padding in the tokens that went through the model."""
    repeated_rows: int
    repeated_tokens_frac: Rounded
    """Share of tokens of repeated texts, which did not go through the model."""
    busy_s: StepSeconds
    waited_s: StepSeconds
    """Seconds without work; for `score`, summed over the threads of its actors."""
    most_waiting_chunks: int
    """Maximum number of chunks that were encoded, but not yet at a model."""
    halvings: int
    """Number of batches halved for lack of memory."""
    elapsed_s: Rounded
    """Seconds from the start to the end of the dataset, including startup of processes."""
    devices: Rounded
    device_hours: Rounded
    peak_frac: Rounded | None = None
    """Share of the devices' peak matrix rate that was used; not set if the peak is unknown."""
    price_per_million_rows: Rounded | None = None
    """Not set without a price."""


class PrecisionChange(Record):
    """Effect of the precision, measured on rows that were also scored in float32."""

    rows: int
    labels_changed_frac: float
    largest_change: float
    """Maximum change of a probability."""


class ScoreDetails(Details):
    """Result of scoring."""

    stage: ClassVar[str] = "score"

    chunk_bytes: int
    precision: str
    batch_tokens: int
    compiled: bool
    kernels: bool
    labels: list[str]
    """Names of the classes, in the order of the model's outputs."""
    scheme: str
    """Name of the label scheme; `unmapped` if jobs.train did not write the model."""
    problem: Literal["single_label", "multi_label", "regression"] = "single_label"
    """What the outputs of the model mean."""
    scale: str = str(DEFAULT_SCALE)
    """Scale of the ratings of the input, as LOW-HIGH; stars of the scores are on the axis of 1 to 5."""
    tokens: int
    against_float32: PrecisionChange | None = None
    """Not set if no rows were compared."""
    bill: Bill
    formats: dict[str, str]
    """URI of each input file → its format."""
    columns: dict[str, FileColumns] = Field(default_factory=dict)
    """URI of each input file → its columns; empty for prepared data."""
    warnings: list[str] = Field(default_factory=list)
    """One sentence for each suspicious fact about an input file, and for each file left out."""
    broken: list[str]
    """One sentence for each file that could not be read to its end."""


class EvaluateDetails(Details):
    """Result of evaluation."""

    stage: ClassVar[str] = "evaluate"

    metrics: MetricsFile
    label_map: dict[str, str] = Field(default_factory=dict)
    """Label of the model → class; empty if they are the same."""
