"""What the manifest of each stage records besides what all manifests have: the contract between stages.

Stages read each other's manifests and never import each other, so these classes are in a module of their own
below all stages. A new field needs a default: manifests of earlier versions lack it.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator

from pipeline.metrics.schema import MetricsFile
from pipeline.rundir.manifest import Details
from pipeline.rundir.record import OptionalFields, Record


class PrepareDetails(Details):
    """Labels, formats and the data card: what the prepared rows are like."""

    stage: ClassVar[str] = "prepare"

    labels: list[str]
    """Names of the classes, in order."""
    formats: dict[str, str]
    """By the URI of each input file."""
    lines: int
    rows: int
    rejected: dict[str, int]
    """Lines that were not kept, by reason."""
    rows_by_label: dict[str, dict[str, int]]
    """By split and class."""
    rows_by_stars: dict[str, dict[str, int]]
    """By split and number of stars, 1 to 5."""
    tokens: int
    length_quantiles: dict[str, int]
    """Tokens of a row before truncation, by quantile in (0, 1]."""
    length_histogram: dict[str, int]
    """Rows by tokens before truncation."""
    max_length: int
    truncated_rows: int
    truncated_frac: float
    cut_tokens: int
    """Tokens that truncation removed."""
    cut_tokens_frac: float
    texts: int
    """Distinct texts."""
    repeated_rows: int
    """Rows whose text occurred before."""
    most_repeats: int
    """Occurrences of the most frequent text."""
    texts_with_conflicting_stars: int
    texts_in_several_splits: int
    random_split_leak_frac: float
    """Expected share of the test rows of a random split whose text is also in its training rows."""
    first_day: str | None
    last_day: str | None
    split_by: str
    rows_without_key: int
    """Rows, duplicates included, without the user or product that the split is by."""
    broken: list[str]
    """One sentence for each file that could not be read to its end."""


class EpochRecord(Record):
    """Losses and figures of one epoch."""

    epoch: int
    """From 0."""
    step: int
    """Optimizer steps up to its end, over all epochs."""
    train_loss: float
    val_loss: float
    val_accuracy: float
    val_macro_f1: float
    val_weighted_f1: float
    seconds: float


class TrainDetails(Details):
    """How the model was trained."""

    stage: ClassVar[str] = "train"

    rows: dict[str, int]
    """By split."""
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
        """The epoch whose weights were kept."""
        return self.history[self.best_epoch]


Rounded = Annotated[float, AfterValidator(lambda value: float(f"{value:.6g}"))]
"""A measured number, to six significant digits."""


class StepSeconds(Record):
    """Seconds by step of scoring, over all its workers."""

    encode: Rounded
    score: Rounded
    write: Rounded


class Bill(OptionalFields):
    """What the chunks that one job scored have cost."""

    rows: int
    rows_per_s: Rounded
    """From the first row at a model to the last: without the start of processes."""
    tokens_per_s: Rounded
    padding_frac: Rounded
    """Of the tokens that went through the model."""
    repeated_rows: int
    repeated_tokens_frac: Rounded
    """Tokens of repeated texts, which did not go through the model."""
    busy_s: StepSeconds
    waited_s: StepSeconds
    """Seconds without work; for `score`, over the threads of its actors."""
    most_waiting_chunks: int
    """Maximum of chunks that were encoded and not yet at a model."""
    halvings: int
    """Batches halved for lack of memory."""
    elapsed_s: Rounded
    """From the start of the dataset to its end, the start of processes included."""
    devices: Rounded
    device_hours: Rounded
    peak_frac: Rounded | None = None
    """Of the devices' peak matrix rate; not set where that is unknown."""
    price_per_million_rows: Rounded | None = None
    """Not set where no price was given."""


class PrecisionChange(Record):
    """Difference that the precision makes, from rows that were also scored in float32."""

    rows: int
    labels_changed_frac: float
    largest_change: float
    """Of a probability."""


class ScoreDetails(Details):
    """How the rows were scored."""

    stage: ClassVar[str] = "score"

    chunk_bytes: int
    precision: str
    batch_tokens: int
    compiled: bool
    kernels: bool
    labels: list[str]
    """Names of the classes, in the order of the model's outputs."""
    scheme: str
    """Name of the label scheme."""
    tokens: int
    against_float32: PrecisionChange | None = None
    """Not set where nothing was compared."""
    bill: Bill
    formats: dict[str, str]
    """By the URI of each input file."""
    broken: list[str]
    """One sentence for each file that could not be read to its end."""


class EvaluateDetails(Details):
    """How good the scores are."""

    stage: ClassVar[str] = "evaluate"

    metrics: MetricsFile
