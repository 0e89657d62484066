"""The train stage: data/ → model/, on Ray Train."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import Config, digest
from pipeline.details import EpochRecord, PrepareDetails, TrainDetails
from pipeline.errors import InputError, ModelError, OutputError, RayviewError
from pipeline.humanize import counted
from pipeline.model.card import CARD_FILE, ModelCard, fingerprint_model
from pipeline.model.hub import resolve_model
from pipeline.model.tokenizer import save_tokenizer, tokenizer_json
from pipeline.progress import Reporter
from pipeline.rundir.claim import State, begin, check_apart, finish
from pipeline.rundir.declaration import Declaration
from pipeline.rundir.manifest import Manifest, OutputFile, Run, read_manifest
from pipeline.runtime.pools import Cluster, Pool, plan_train, without_gpus
from pipeline.runtime.precision import choose_precision
from pipeline.runtime.worker_errors import for_worker, original_train_errors
from pipeline.storage.location import Location, locate
from pipeline.train.streams import list_row_groups
from pipeline.train.task import BEST_DIRECTORY, STATE_FILE, TrainState, TrainTask

if TYPE_CHECKING:
    from ray.actor import ActorHandle
    from ray.train import Checkpoint, Result
    from ray.train.torch import TorchTrainer

CHECKPOINTS = "checkpoints"
"""Temporary folder in the output directory; deleted when training ends."""

DECLARATION = Declaration(
    files=(
        r"checkpoints/.+",
        r"model\.safetensors",
        r"(config|rayview)\.json",
        # The file names depend on the kind of the tokenizer.
        r"tokenizer[\w.-]*",
        r"(special_tokens_map|added_tokens|normalizer|emoji|[\w-]*vocab[\w-]*|word_\w+|byte_maps)\.json",
        r"(vocab|merges|dict)\.txt",
        r"bpe\.codes",
        r"\w*\.spm",
        r"(spiece|sentencepiece[\w.]*|\w*spm\w*)\.model",
        r"\w+\.tokenizer",
        r"chat_template\.jinja",
        r"additional_chat_templates/[\w.-]+\.jinja",
    ),
    # Ray resumes from the checkpoints that this file lists.
    first=("checkpoints/checkpoint_manager_snapshot.json",),
    resumes=True,
)
"""Every file of a model directory."""

_SECTIONS = ("model", "train")
_CONTROLLER_FAILURES = 3
_POLL_S = 0.2
# These affect only where and how fast training runs; the number of workers changes the last bits of sums.
_NOT_IN_RUN = ("num_workers", "use_gpu", "max_failures", "checkpoint_every_steps")


@dataclass(frozen=True)
class TrainJob:
    """Everything about a training job that is known before Ray starts."""

    output: Location
    data: Manifest[PrepareDetails]
    data_location: Location
    card: ModelCard
    run: Run
    config: Config
    rows: dict[str, int]
    """Number of rows of train and val."""

    def parts(self, split: str) -> list[str]:
        """URIs of the Parquet parts of a split."""
        files = [o.path for o in self.data.outputs if o.path.startswith(f"{split}/")]
        return [self.data_location.child(path).uri for path in files]


def plan(data: str, output: str, config: Config) -> TrainJob:
    """Check data, model and output; write nothing.

    Raises:
        UserError: the data are unfinished, or the model is not available or has another tokenizer.
    """
    location, where, name = locate(data), locate(output), config.model.name
    manifest = read_manifest(location, PrepareDetails)
    directory = resolve_model(name)
    check_apart(where, [location, locate(name if "://" in name else directory)])
    if digest(tokenizer_json(directory)) != manifest.model_fingerprint:
        prepared_for = manifest.config.model.name
        raise ModelError(
            f"model {name}: its tokenizer differs from that of {prepared_for}, which encoded"
            f" {location.uri}; use --model {prepared_for}, or prepare the data with {name}"
        )
    assert manifest.counts is not None
    rows = manifest.counts.splits
    _check_classes(location, manifest.details)
    fingerprint = digest([(o.path, o.rows, o.bytes) for o in manifest.outputs] + [manifest.config_digest])
    settings = config.section(*_SECTIONS)
    for setting in _NOT_IN_RUN:
        del settings["train"][setting]
    run = Run(
        stage="train",
        inputs=manifest.inputs,
        model_fingerprint=digest(tokenizer_json(directory)),
        settings={**settings, "data": fingerprint},
        declaration=DECLARATION,
    )
    return TrainJob(where, manifest, location, _card(manifest, config, fingerprint), run, config, rows)


def _check_classes(data: Location, details: PrepareDetails) -> None:
    """Raise InputError if all training rows have the same class, so that there is nothing to learn."""
    classes = [(label, n) for label, n in details.rows_by_label["train"].items() if n]
    if len(classes) == 1:
        label, rows = classes[0]
        raise InputError(
            f"{data.uri}: all {counted(rows, 'training row')} have the class {label}; prepare the data again"
            " with the column of the stars as input.stars and their range as labels.scale"
        )


def _card(manifest: Manifest, config: Config, data_fingerprint: str) -> ModelCard:
    from pipeline.ingest.clean.labels import label_scheme
    from pipeline.ingest.parse.formats import CARRIED_FIELDS

    prepared = manifest.config
    scheme = label_scheme(prepared.labels.scheme, prepared.labels.words)
    text = prepared.input.text
    return ModelCard(
        base_model=config.model.name,
        labels=list(scheme.labels),
        scheme=scheme.name,
        stars_to_label=scheme.rule(),
        max_length=prepared.tokenize.max_length,
        text=None if text is None else list(text),
        columns={n: name for n in ("stars", *CARRIED_FIELDS) if (name := getattr(prepared.input, n))},
        header=list(prepared.input.columns or ()),
        text_separator=prepared.input.text_separator,
        unescape_html=prepared.input.unescape_html,
        data_fingerprint=data_fingerprint,
        scale=prepared.labels.scale,
        unrated=list(prepared.labels.unrated or ()),
    )


def train(
    job: TrainJob, cluster: Cluster, reporter: Reporter, *, overwrite: bool = False
) -> Manifest[TrainDetails]:
    """Fine-tune on a connected cluster and write the best model; resumes from the last checkpoint.

    Returns:
        The manifest, also if the job is already finished.
    Raises:
        RayviewError: see errors.py; raised unwrapped if a worker raised it.
    """
    start = time.monotonic()
    pool = plan_train(cluster, job.config.train)
    if begin(job.output, job.run, overwrite=overwrite) is State.FINISHED:
        return read_manifest(job.output, TrainDetails)
    _check_resumable(job.output)
    precision = choose_precision(cluster if pool.gpus else without_gpus(cluster), job.config.train.precision)
    task = train_task(job, precision, pool.threads)
    with _fit(job, task, pool, reporter).as_directory() as directory:
        return write_model(job, task, pool, Path(directory), start)


def write_model(
    job: TrainJob, task: TrainTask, pool: Pool, checkpoint: Path, start: float
) -> Manifest[TrainDetails]:
    """Write the best model of a finished training and the manifest, and delete the checkpoints.

    Args:
        checkpoint: directory of the last checkpoint.
        start: value of `time.monotonic` at the start of the job.
    """
    state = TrainState.read(checkpoint)
    outputs = _upload_model(job, checkpoint / BEST_DIRECTORY)
    manifest = _manifest(job, task, pool, state, outputs, start)
    finish(job.output, job.run, manifest)
    job.output.child(CHECKPOINTS).delete_tree()
    return manifest


def train_task(job: TrainJob, precision: str, threads: int) -> TrainTask:
    """Parameters of a job's workers, which compute in float32 or bfloat16 with `threads` CPU threads each."""
    return TrainTask(
        model=job.config.model.name,
        labels=job.card.labels,
        max_length=job.card.max_length,
        train_groups=list_row_groups(job.parts("train")),
        val_parts=job.parts("val"),
        config=job.config.train,
        precision=precision,
        threads=threads,
    )


def _check_resumable(output: Location) -> None:
    """Raise OutputError if an unfinished job left checkpoints of another version."""
    for file in output.child(CHECKPOINTS).list_files():
        if file.name == STATE_FILE:
            try:
                TrainState.parse(file.read_bytes())
            except OutputError as error:
                raise OutputError(f"{output.uri}: {error}") from None


def _fit(job: TrainJob, task: TrainTask, pool: Pool, reporter: Reporter) -> Checkpoint:
    """Run Ray Train to its end and return the last checkpoint."""
    # By default Ray polls the workers every 2 s, and the last report of a worker waits for the next poll.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", str(_POLL_S))
    import ray

    progress = ray.remote(num_cpus=0)(ProgressActor).remote()
    trainer = _torch_trainer(job, task, pool, progress)
    result: Future[Result] = Future()

    def fit() -> None:
        try:
            with original_train_errors():
                result.set_result(trainer.fit())
        except Exception as error:  # noqa: BLE001  Raised again in the waiting thread.
            result.set_exception(error)

    # In a separate thread, because this thread shows progress and can be interrupted.
    threading.Thread(target=fit, daemon=True).start()
    with reporter.meter("train") as meter:
        while not result.done():
            phase, state = ray.get(progress.get.remote())
            rows = min(state.step * task.config.global_batch_rows, task.train_rows * task.config.epochs)
            meter.update(rows, state.step / task.total_steps, phase or state.describe())
            reporter.refresh()
            wait([result], _POLL_S)
    checkpoint = result.result().checkpoint
    if checkpoint is None:
        raise RayviewError("training ended without a checkpoint")
    return checkpoint


def _torch_trainer(job: TrainJob, task: TrainTask, pool: Pool, progress: ActorHandle) -> TorchTrainer:
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from pipeline.train.worker import WorkerOptions, train_worker

    return TorchTrainer(
        for_worker(train_worker),
        train_loop_config=WorkerOptions(task=task, progress=progress),
        scaling_config=ScalingConfig(
            num_workers=pool.size,
            use_gpu=bool(pool.gpus),
            resources_per_worker={"CPU": pool.cpus} | ({"GPU": pool.gpus} if pool.gpus else {}),
        ),
        run_config=RunConfig(
            name=CHECKPOINTS,
            storage_path=job.output.path,
            storage_filesystem=None if job.output.is_local else job.output.filesystem,
            # Every checkpoint contains the best weights, so the last one is enough.
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            # By default Ray retries forever if workers cannot start.
            failure_config=FailureConfig(
                max_failures=task.config.max_failures, controller_failure_limit=_CONTROLLER_FAILURES
            ),
        ),
    )


class ProgressActor:
    """Actor through which rank 0 reports progress."""

    def __init__(self) -> None:
        self._phase, self._state = "starting training workers", TrainState()

    def put(self, phase: str, state: TrainState | None) -> None:
        """Replace the phase, and the state if it is not None.

        Args:
            phase: current activity of rank 0; empty while it trains.
        """
        self._phase, self._state = phase, state or self._state

    def get(self) -> tuple[str, TrainState]:
        """Last phase and state."""
        return self._phase, self._state


def _upload_model(job: TrainJob, best: Path) -> list[OutputFile]:
    """Write weights, config, tokenizer and card in the layout that `from_pretrained` reads."""
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory)
        save_tokenizer(resolve_model(job.config.model.name), target)
        for file in best.iterdir():
            (target / file.name).write_bytes(file.read_bytes())
        (target / CARD_FILE).write_text(job.card.model_dump_json(indent=2) + "\n", encoding="utf-8")
        job.output.upload_tree(target)
        return [OutputFile(path=f.name, bytes=f.stat().st_size) for f in sorted(target.iterdir())]


def _manifest(
    job: TrainJob,
    task: TrainTask,
    pool: Pool,
    state: TrainState,
    outputs: list[OutputFile],
    start: float,
) -> Manifest[TrainDetails]:
    if state.best_epoch < 0:
        raise InputError("training ended before its first validation; add data, or raise train.max_steps")
    details = TrainDetails(
        rows=job.rows,
        num_workers=pool.size,
        use_gpu=bool(pool.gpus),
        precision=task.precision,
        steps=state.step,
        best_epoch=state.best_epoch,
        best_by=task.config.best_by,
        history=[EpochRecord.model_validate(entry) for entry in state.history],
    )
    fingerprint = fingerprint_model(job.output)
    return Manifest.of(job.run, job.config, start, details, outputs=outputs, model_fingerprint=fingerprint)
