"""The evaluate stage: scores/ → report/ in one pass; memory does not depend on the number of rows."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import Config, digest
from pipeline.details import EvaluateDetails, ScoreDetails
from pipeline.errors import InputError, SettingError
from pipeline.evaluate.label_map import MappedLabels, map_labels, own_labels
from pipeline.evaluate.plots import draw_confusion, draw_roc
from pipeline.evaluate.report import render_report
from pipeline.ingest.clean.labels import UNLABELED, LabelScheme, label_scheme
from pipeline.ingest.clean.rows import TRUE_LABEL
from pipeline.metrics.schema import MetricsFile
from pipeline.metrics.tally import Tally, compute_metrics
from pipeline.model.card import Problem
from pipeline.model.foreign import UNMAPPED
from pipeline.progress import Reporter
from pipeline.rundir.claim import State, begin, check_apart, finish
from pipeline.rundir.declaration import Declaration
from pipeline.rundir.manifest import Manifest, OutputFile, Run, read_manifest
from pipeline.runtime.pools import Cluster, plan_tasks
from pipeline.runtime.tasks import run_each
from pipeline.storage.location import Location, locate

METRICS_FILE = "metrics.json"
REPORT_FILE = "report.html"
ROC_FILE = "roc.png"
CONFUSION_FILE = "confusion.png"

DECLARATION = Declaration(
    files=(r"metrics\.json", r"(roc|confusion)\.png", r"report\.html"),
)
"""Every file of a report."""

_GROUPS_PER_CPU = 4
_TALLY_ROWS = 1 << 20


@dataclass(frozen=True)
class EvaluateJob:
    """Plan of an evaluate job, made before Ray starts."""

    output: Location
    scores: Location
    manifest: Manifest[ScoreDetails]
    labels: MappedLabels
    run: Run
    config: Config

    @property
    def scheme(self) -> LabelScheme:
        """Classes of the truth."""
        return self.labels.scheme

    @property
    def mapped(self) -> dict[str, str]:
        """Label of the model → class; empty if they are the same."""
        return self.labels.map if self.labels.names != self.scheme.labels else {}

    @property
    def parts(self) -> list[str]:
        """URIs of the score parts."""
        return [self.scores.child(o.path).uri for o in self.manifest.outputs if "/" not in o.path]


def plan(scores: str, output: str, config: Config) -> EvaluateJob:
    """Plan of an evaluate job; reads the manifest of the scores and writes nothing.

    Raises:
        InputError: the directory is not a finished output of jobs.score.
        OutputError: the scores are inside the output directory.
    """
    source, target = locate(scores), locate(output)
    manifest = read_manifest(source, ScoreDetails)
    check_apart(target, [source])
    fingerprint = digest([o.model_dump() for o in manifest.outputs] + [manifest.model_fingerprint])
    is_foreign = manifest.details.scheme == UNMAPPED
    details = manifest.details
    labels = classes_of(source.uri, details.labels, details.scheme, details.problem, config)
    run = Run(
        stage="evaluate",
        inputs=manifest.inputs,
        model_fingerprint=manifest.model_fingerprint,
        settings={"scores": fingerprint, **({"labels": dict(labels.map)} if is_foreign else {})},
        declaration=DECLARATION,
    )
    return EvaluateJob(target, source, manifest, labels, run, config)


def classes_of(name: str, labels: list[str], scheme: str, problem: Problem, config: Config) -> MappedLabels:
    """Classes of the labels of a model.

    Args:
        name: of the scores or the model, for messages.
        labels: in the order of the outputs of the model.
        scheme: UNMAPPED if jobs.train did not write the model.
    Raises:
        InputError: the class of a label is not known, or the model gives no single label.
        SettingError: `labels.map` does not apply.
    """
    if problem != "single_label":
        kind = "a number" if problem == "regression" else "any number of labels"
        raise InputError(f"{name}: the model gives {kind} for a review; metrics need one label")
    if scheme == UNMAPPED:
        try:
            return map_labels(labels, config.labels.map)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
    if config.labels.map is not None:
        raise SettingError("labels.map is for models that jobs.train did not write; omit it")
    return own_labels(label_scheme(scheme, labels))


def evaluate(
    job: EvaluateJob, cluster: Cluster, reporter: Reporter, *, overwrite: bool = False
) -> Manifest[EvaluateDetails]:
    """Run the job on a connected cluster.

    Returns:
        The manifest, with the metrics in its details, also if the job is already finished.
    Raises:
        InputError: no scored row has a label under the label scheme.
    """
    start = time.monotonic()
    if begin(job.output, job.run, overwrite=overwrite) is State.FINISHED:
        return read_manifest(job.output, EvaluateDetails)
    total = sum(o.rows or 0 for o in job.manifest.outputs if "/" not in o.path)
    tally, seen = Tally.empty(len(job.scheme.labels)), 0
    with reporter.meter("evaluate") as meter:
        for part, rows in _tallies(job, cluster):
            tally, seen = tally.merge(part), seen + rows
            meter.update(seen, seen / max(1, total))
            reporter.refresh()
    if not tally.rows:
        raise InputError(
            f"{job.scores.uri}: none of the {seen:,} rows has a known label in {_label_column(job.scheme)};"
            " score a dump that has labels"
        )
    computed = compute_metrics(tally, list(job.scheme.labels), ordered=not job.scheme.is_words)
    metrics: MetricsFile = {**computed, "rows_without_label": seen - tally.rows}
    outputs = _write_report(job, tally, metrics)
    details = EvaluateDetails(metrics=metrics, label_map=job.mapped)
    manifest = Manifest.of(job.run, job.config, start, details, outputs=outputs)
    finish(job.output, job.run, manifest)
    return manifest


def _tallies(job: EvaluateJob, cluster: Cluster) -> Iterator[tuple[Tally, int]]:
    """Tally and number of rows of each group of parts, in order of completion."""
    pool = plan_tasks(cluster)
    parts = job.parts
    groups = min(len(parts), _GROUPS_PER_CPU * pool.size)
    return run_each(pool, tally_parts, [(parts[i::groups], job.labels) for i in range(groups)])


def tally_parts(parts: list[str], labels: MappedLabels) -> tuple[Tally, int]:
    """Tally of several parts, and their number of rows, including those without a label."""
    scheme = labels.scheme
    tally, seen = Tally.empty(len(scheme.labels)), 0
    columns = [_label_column(scheme), *(f"prob_{name}" for name in labels.names)]
    tables: list[pa.Table] = []
    for number, uri in enumerate(parts, start=1):
        with locate(uri).open_input() as file:
            tables.append(pq.read_table(file, columns=columns))
        rows = sum(t.num_rows for t in tables)
        # The cost of a merge does not depend on the number of rows.
        if rows >= _TALLY_ROWS or number == len(parts):
            tally = tally.merge(_tally(pa.concat_tables(tables), columns[1:], scheme))
            tables, seen = [], seen + rows
    return tally, seen


def _label_column(scheme: LabelScheme) -> str:
    """Column of the scores with the true label."""
    return TRUE_LABEL if scheme.is_words else "stars"


def _tally(table: pa.Table, columns: list[str], scheme: LabelScheme) -> Tally:
    if scheme.is_words:
        labels = scheme.encode_words(table[TRUE_LABEL])
    else:
        labels = scheme.encode(table["stars"].to_numpy(zero_copy_only=False).astype(np.float32))
    probs = np.stack([table[c].to_numpy() for c in columns], axis=1).astype(np.float32)
    known = labels != UNLABELED
    return Tally.from_probs(probs[known], labels[known].astype(np.int64))


def _write_report(job: EvaluateJob, tally: Tally, metrics: MetricsFile) -> list[OutputFile]:
    labels = list(job.scheme.labels)
    images = {ROC_FILE: draw_roc(tally, labels), CONFUSION_FILE: draw_confusion(tally, labels)}
    page = render_report(metrics, title="Review classifier", facts=_facts(job, metrics), images=images)
    files = {
        METRICS_FILE: (json.dumps(metrics, indent=2, allow_nan=False) + "\n").encode(),
        **images,
        REPORT_FILE: page.encode(),
    }
    for name, data in files.items():
        job.output.child(name).write_bytes(data)
    return [OutputFile(path=name, bytes=len(data)) for name, data in files.items()]


def _facts(job: EvaluateJob, metrics: MetricsFile) -> dict[str, str]:
    """Description of the evaluated data for the HTML page."""
    manifest = job.manifest
    inputs = ", ".join(locate(f.path).name for f in manifest.inputs[:3])
    more = f" and {len(manifest.inputs) - 3} more" if len(manifest.inputs) > 3 else ""
    counts = manifest.counts
    rejected = counts.rejected if counts else {}
    return {
        "Scores": job.scores.uri,
        "Scored files": inputs + more,
        "Model fingerprint": manifest.model_fingerprint or "",
        "Classes": f"{job.scheme.name}: {', '.join(job.scheme.labels)}",
        **({"Labels of the model": str(job.labels)} if job.mapped else {}),
        "Rows evaluated": f"{metrics['rows']:,}",
        "Rows without a label": f"{metrics['rows_without_label']:,}",
        "Lines rejected before scoring": ", ".join(f"{n:,} {r}" for r, n in rejected.items()) or "0",
        "Precision": manifest.details.precision,
    }
