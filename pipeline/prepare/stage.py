"""The prepare stage: dumps → data/{train,val,test}, in three passes.

The first pass encodes each chunk and rejects invalid lines. The second shuffles rows by text hash and
deduplicates them; the order of the result depends only on the texts. The third writes the lines of removed
duplicates to rejects/.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from pipeline.config import Config, SplitConfig, digest
from pipeline.details import PrepareDetails
from pipeline.errors import InputError, SettingError
from pipeline.ingest.clean.labels import label_scheme
from pipeline.ingest.clean.rows import Recipe
from pipeline.ingest.detect.sources import Source, choose_chunk_bytes, expected_bytes, find_sources
from pipeline.ingest.ledger import Ledger, check_any_rows
from pipeline.ingest.parse.formats import Format
from pipeline.ingest.read.limits import ReadLimits
from pipeline.ingest.recorded_formats import columns_of, dialects_of
from pipeline.ingest.stream import ReadPlan, read_dataset
from pipeline.model.hub import model_max_length, resolve_model
from pipeline.model.tokenizer import tokenizer_json
from pipeline.prepare.card import make_card, write_card
from pipeline.prepare.head import find_boundary
from pipeline.prepare.restore_rejects import REMOVED, Ranges, Restore, restore_lines
from pipeline.prepare.shuffle import Filled, Shuffle, shuffle
from pipeline.prepare.split import SPLITS
from pipeline.prepare.split_keys import only_used, with_keys
from pipeline.prepare.steps import ENCODED, KEYLESS, ChunkEncoder
from pipeline.progress import Reporter
from pipeline.rundir.claim import State, begin, check_apart, finish
from pipeline.rundir.declaration import Declaration
from pipeline.rundir.manifest import (
    Counts,
    FileCounts,
    Manifest,
    OutputFile,
    Run,
    describe_files,
    read_manifest,
)
from pipeline.runtime.crash_guard import guard_run
from pipeline.runtime.pools import Cluster, Pool, plan_prepare, plan_tasks
from pipeline.runtime.ray_data import map_batches, map_in_actors
from pipeline.storage.expand import expand_inputs
from pipeline.storage.location import Location, locate

MIN_CHUNK_BYTES = 512 << 10
"""A chunk has a fixed cost of about 10 ms, so smaller chunks would slow down a small machine."""
MAX_CHUNK_BYTES = 8 << 20
_ENCODERS = 16
"""Encoders among which a large input is divided, several chunks each. A constant instead of their actual
number: there is one file of rejects per chunk, and the files must not depend on the machine."""
_TASK_CHUNKS = 16
"""Chunks per encoder up to which the encoders are tasks. A task waits up to 0.1 s longer for a chunk than an
actor, but its process is reused by the later passes, whereas starting a process takes 2 s of CPU time."""

DECLARATION = Declaration(
    files=(
        r"(train|val|test|encoded|removed)/part-[\d-]+\.parquet",
        r"removed/range-\d+\.parquet",
        r"card[\w-]*\.(md|png|json|html)",
    ),
    provisional=(r"rejects/(part|duplicates)-[\d-]+\.parquet",),
)
"""Every file of a data directory. prepare does not resume: parts of an interrupted job may have been cut
differently."""

_SECTIONS = ("input", "labels", "dedup", "split", "tokenize", "model")
_SMALL_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class PrepareJob:
    """Everything about a prepare job that is known before Ray starts."""

    output: Location
    sources: list[Source]
    recipe: Recipe
    tokenizer: str
    run: Run
    chunk_bytes: int
    config: Config
    skipped: list[str]
    """One sentence for each input file that is left out."""


def plan(inputs: list[str], output: str, config: Config) -> PrepareJob:
    """Check inputs, model and output; write nothing.

    Raises:
        UserError: one of them is unsuitable, see errors.py.
    """
    where = locate(output)
    files = expand_inputs(inputs, [where])
    check_apart(where, files)
    sources, skipped = find_sources(
        files, config.input, need_time=config.split.by == "time", labels=config.labels
    )
    name = config.model.name
    directory = resolve_model(name)
    check_apart(where, [locate(name if "://" in name else directory)])
    max_length = model_max_length(directory)
    if max_length is not None and config.tokenize.max_length > max_length:
        raise SettingError(
            f"tokenize.max_length={config.tokenize.max_length}, but {name} takes at most {max_length} tokens"
        )
    tokenizer = tokenizer_json(directory)
    recipe = Recipe.from_config(config, label_scheme(config.labels.scheme, config.labels.words))
    sources = with_keys(sources, config, recipe.parse_options())
    chunk_bytes = config.input.chunk_bytes or _chunk_bytes(sources)
    run = Run(
        stage="prepare",
        inputs=describe_files(locate(source.uri) for source in sources),
        model_fingerprint=digest(tokenizer),
        settings=_settings(config),
        resolved={
            "chunk_bytes": chunk_bytes,
            "dialects": dialects_of(sources),
            "columns": columns_of(sources),
        },
        declaration=DECLARATION,
    )
    return PrepareJob(where, sources, recipe, tokenizer, run, chunk_bytes, config, skipped)


def _chunk_bytes(sources: list[Source]) -> int:
    fitting = choose_chunk_bytes(sources, max_bytes=MAX_CHUNK_BYTES, consumers=_ENCODERS)
    return max(MIN_CHUNK_BYTES, fitting)


def _settings(config: Config) -> dict[str, Any]:
    """Settings that the output depends on."""
    return config.section(*_SECTIONS) | {"input": config.input.of_run()}


def prepare(
    job: PrepareJob, cluster: Cluster, reporter: Reporter, *, overwrite: bool = False
) -> Manifest[PrepareDetails]:
    """Run the job on a connected cluster.

    Returns:
        The manifest, also if the job is already finished.
    Raises:
        OutputError, ErrorBudgetError, AccountingError: see errors.py.
    """
    start = time.monotonic()
    # No part of an interrupted job is kept: it may have been cut into other chunks.
    if begin(job.output, job.run, overwrite=overwrite) is State.FINISHED:
        return read_manifest(job.output, PrepareDetails)
    ledger, counts = encode_dumps(job, cluster, reporter)
    filled = _shuffle(job, cluster, ledger, reporter)
    job.output.child(ENCODED).delete_tree()
    rejects = _restore(job, cluster, counts, filled, reporter)
    job.output.child(REMOVED).delete_tree()
    counts = _with_duplicates(counts, filled, job.sources)
    manifest = _finish(job, ledger, counts, filled, rejects, start)
    finish(job.output, job.run, manifest)
    return manifest


def encode_dumps(job: PrepareJob, cluster: Cluster, reporter: Reporter) -> tuple[Ledger, Counts]:
    """First pass: encode every line to encoded/, or reject it."""
    pools = plan_prepare(cluster, len(job.sources))
    encoder = chunk_encoder(job)
    ledger = Ledger(job.sources, job.config.input.max_rejected_frac, job.config.input.strict)
    with guard_run() as guard:
        chunks = read_dataset(job.sources, replace(read_plan(job), guard=guard), pools.readers)
        apply = map_batches if encodes_in_tasks(job, pools.encoders) else map_in_actors
        ledger.fill(apply(chunks, encoder.encode_chunk, pools.encoders), reporter, "prepare")
    return ledger, ledger.close(all_files=job.config.input.max_rows is None)


def chunk_encoder(job: PrepareJob) -> ChunkEncoder:
    """Encoder of the chunks of a job.

    Raises:
        InputError: `split.by` is head, and the input is too small; see head.py.
    """
    boundary = find_boundary(job.sources, job.recipe, read_plan(job), job.config.split)
    formats = {s.number: only_used(s.fmt, job.config) for s in job.sources if isinstance(s.fmt, Format)}
    return ChunkEncoder(job.output.uri, formats, job.recipe, job.tokenizer, job.config.split, boundary)


def encodes_in_tasks(job: PrepareJob, encoders: Pool) -> bool:
    """Whether the input is so small that the encoders are tasks instead of actors; the output is the same."""
    return expected_bytes(job.sources) <= _TASK_CHUNKS * encoders.size * job.chunk_bytes


def _shuffle(job: PrepareJob, cluster: Cluster, ledger: Ledger, reporter: Reporter) -> list[Filled]:
    """Second pass: shuffle the rows of encoded/ to their splits, and deduplicate them."""
    parts = [o for o in ledger.outputs() if o.path.startswith(f"{ENCODED}/")]
    plan = Shuffle.of(job.output.uri, job.config.dedup, sum(p.rows or 0 for p in parts))
    return shuffle(parts, job.output.uri, plan, plan_tasks(cluster), reporter)


def _restore(
    job: PrepareJob, cluster: Cluster, counts: Counts, filled: list[Filled], reporter: Reporter
) -> list[OutputFile]:
    """Third pass: write the rows that the second pass removed, with their lines, to rejects/."""
    read = [counts.files[s.uri].lines if s.uri in counts.files else 0 for s in job.sources]
    files = {file for bucket in filled for file in bucket.rejected}
    # Small chunks: rows kept from large ones would fragment the heap with large holes.
    plan = replace(read_plan(job), chunk_bytes=_SMALL_CHUNK_BYTES)
    work = Restore(job.output.uri, plan, job.recipe.parse_options(), Ranges.of(read))
    return restore_lines(
        [bucket.removed for bucket in filled if bucket.removed],
        [s for s in job.sources if s.number in files],
        work,
        plan_tasks(cluster),
        reporter,
    )


def read_plan(job: PrepareJob) -> ReadPlan:
    """How the input of a job is cut into chunks."""
    config = job.config.input
    return ReadPlan(job.chunk_bytes, config.max_rows, ReadLimits.of(config))


def _with_duplicates(counts: Counts, filled: list[Filled], sources: list[Source]) -> Counts:
    """Counts of the first pass, updated with the rows that the second pass removed.

    Raises:
        AccountingError: rows of a file were lost or duplicated.
        NoRowsError: no row is left.
    """
    kept = Counter[int]()
    rejected = {s.number: Counter(counts.files[s.uri].rejected) for s in sources if s.uri in counts.files}
    for bucket in filled:
        kept.update(bucket.kept)
        for file, reasons in bucket.rejected.items():
            rejected[file].update(reasons)
    files = {
        s.uri: FileCounts(
            lines=counts.files[s.uri].lines,
            rows=kept[s.number],
            rejected=dict(rejected[s.number].most_common()),
            physical_lines=counts.files[s.uri].physical_lines,
        )
        for s in sources
        if s.number in rejected
    }
    total = sum(rejected.values(), Counter[str]())
    update = {"rows": kept.total(), "rejected": dict(total.most_common()), "files": files}
    counts = counts.model_copy(update=update)
    counts.check("all input files")
    check_any_rows(counts)
    return counts


def _finish(
    job: PrepareJob,
    ledger: Ledger,
    counts: Counts,
    filled: list[Filled],
    rejects: list[OutputFile],
    start: float,
) -> Manifest[PrepareDetails]:
    """Write the card and return the manifest.

    Args:
        rejects: files of the rows that the second pass removed.
    Raises:
        InputError: train or val has no rows.
    """
    scheme = job.recipe.scheme
    assert scheme is not None
    keyless = int(ledger.total(KEYLESS))
    card = make_card(
        counts, filled, scheme.labels, job.config, job.sources, job.skipped, ledger.broken, keyless
    )
    splits = {split: sum(card.rows_by_label[split].values()) for split in SPLITS}
    for split in ("train", "val"):
        if not splits[split]:
            raise InputError(
                f"none of the {counts.rows} usable rows is in {split}; add more input, or change"
                f" {_share_setting(job.config.split, split)}"
            )
    outputs = [o for o in ledger.outputs() if not o.path.startswith(f"{ENCODED}/")]
    outputs += [output for bucket in filled for output in bucket.outputs] + rejects
    outputs += write_card(job.output, card)
    counts = counts.model_copy(update={"splits": splits})
    return Manifest.of(job.run, job.config, start, card, outputs=outputs, counts=counts)


def _share_setting(config: SplitConfig, split: str) -> str:
    """Setting that determines the size of a split."""
    return f"split.{split}_frac" if config.by != "time" else "split.val_from and split.test_from"
