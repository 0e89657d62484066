"""The prepare stage: dumps → data/{train,val,test}, one pass, one task a chunk."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import model, resources
from pipeline.config import Config, SplitConfig, digest
from pipeline.errors import InputError, SettingError
from pipeline.ingest.chunks import read_chunks
from pipeline.ingest.dataset import (
    Batch,
    ReadPlan,
    Source,
    choose_chunk_bytes,
    find_sources,
    map_batches,
    read_dataset,
    to_chunk,
)
from pipeline.ingest.encode import load_encoder
from pipeline.ingest.formats import Format
from pipeline.ingest.rejects import reject_table
from pipeline.ingest.rows import Recipe, keep_lines
from pipeline.ingest.text import text_hash
from pipeline.ledger import Entry, Ledger
from pipeline.manifest import (
    Counts,
    InputFile,
    Manifest,
    Run,
    State,
    begin,
    read_manifest,
    write_manifest,
)
from pipeline.parts import part_name, write_part, write_rejects
from pipeline.prepare.split import SPLITS, Boundary, assign
from pipeline.progress import Reporter
from pipeline.storage import Location, expand_inputs, locate

LARGEST_CHUNK_BYTES = 8 << 20
_SECTIONS = ("input", "labels", "split", "tokenize", "model")
_HEAD_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class PrepareJob:
    """Everything about a prepare job that is known before Ray starts."""

    output: Location
    sources: list[Source]
    recipe: Recipe
    tokenizer: str
    run: Run
    config: Config


def plan(inputs: list[str], output: str, config: Config) -> PrepareJob:
    """Look at inputs, model and output; write nothing.

    Raises:
        UserError: any of them does not fit, see errors.py.
    """
    files = expand_inputs(inputs)
    sources = find_sources(files, config.input)
    directory = model.resolve_model(config.model.name)
    most = model.model_max_length(directory)
    if most is not None and config.tokenize.max_length > most:
        raise SettingError(
            f"tokenize.max_length={config.tokenize.max_length}, but {config.model.name} takes at most"
            f" {most} tokens"
        )
    tokenizer = model.tokenizer_json(directory)
    recipe = Recipe(
        text_separator=config.input.text_separator,
        max_length=config.tokenize.max_length,
        verified_only=config.input.verified_only,
        scheme=config.labels.scheme,
    )
    run = Run(
        stage="prepare",
        inputs=[InputFile.of(f) for f in files],
        model_fingerprint=digest(tokenizer),
        settings=_settings(config),
    )
    return PrepareJob(locate(output), sources, recipe, tokenizer, run, config)


def _settings(config: Config) -> dict[str, Any]:
    """The settings that the output depends on."""
    settings = config.section(*_SECTIONS)
    del settings["input"]["max_rejected_frac"]
    return settings


def prepare(
    job: PrepareJob, cluster: resources.Cluster, reporter: Reporter, *, overwrite: bool = False
) -> Manifest:
    """Run the job on a cluster that is connected.

    Returns:
        The manifest, also where the same job was finished before.
    Raises:
        OutputError, ErrorBudgetError, AccountingError: see errors.py.
    """
    start = time.monotonic()
    state = begin(job.output, job.run, overwrite=overwrite)
    if state is State.FINISHED:
        return read_manifest(job.output, "prepare")
    if state is State.UNFINISHED:
        # Parts of an interrupted job may be cut in other chunks; nothing of it is kept.
        job.output.delete_tree()
        begin(job.output, job.run)
    pools = resources.plan_prepare(cluster, len(job.sources))
    read = ReadPlan(
        job.config.input.chunk_bytes
        or choose_chunk_bytes(job.sources, largest=LARGEST_CHUNK_BYTES, consumers=pools.encoders.size),
        job.config.input.max_rows,
    )
    work = _Work(job, find_boundary(job.sources, job.recipe, read, job.config.split))
    dataset = map_batches(read_dataset(job.sources, read, pools.readers), work.prepare_chunk, pools.encoders)
    ledger = Ledger(job.sources, job.config.input.max_rejected_frac)
    ledger.fill(dataset, reporter, "prepare")
    counts = ledger.close(all_files=job.config.input.max_rows is None)
    manifest = _manifest(job, ledger, counts, start)
    write_manifest(job.output, manifest)
    return manifest


def find_boundary(
    sources: list[Source], recipe: Recipe, plan: ReadPlan, config: SplitConfig
) -> Boundary | None:
    """Where the first `split.head_rows` kept rows end; None unless `split.by` is head.

    Raises:
        InputError: the input has no more rows than that.
    """
    if config.by != "head":
        return None
    left, lines = config.head_rows, plan.max_rows
    for source in sources:
        assert isinstance(source.form, Format)
        for chunk in read_chunks(locate(source.uri), source.number, _HEAD_CHUNK_BYTES, max_lines=lines):
            rows, _ = keep_lines(chunk, source.form, recipe)
            # One row more must follow: with none left over there is nothing to train on.
            if rows.num_rows > left:
                return Boundary(
                    source.number, rows["line"][left - 1].as_py() if left else chunk.first_line - 1
                )
            left -= rows.num_rows
            lines = None if lines is None else lines - chunk.lines
        if lines == 0:
            break
    raise InputError(
        f"split.head_rows={config.head_rows}, but the input has only {config.head_rows - left} usable rows;"
        " lower it, or choose --set split.by=text"
    )


class _Work:
    """What a task needs to prepare a chunk; small, sent to every worker once."""

    def __init__(self, job: PrepareJob, boundary: Boundary | None) -> None:
        self._output = job.output.uri
        self._forms = {s.number: s.form for s in job.sources}
        self._recipe = job.recipe
        self._tokenizer = job.tokenizer
        self._split = job.config.split
        self._boundary = boundary

    def prepare_chunk(self, table: pa.Table) -> pa.Table:
        """Write the rows of a chunk to their splits and hand on its account."""
        chunk = to_chunk(table)
        form = self._forms[chunk.file]
        assert isinstance(form, Format)
        rows, rejected = keep_lines(chunk, form, self._recipe)
        encoded = encode_rows(rows, chunk.source, self._tokenizer, self._recipe.max_length)
        lines = encoded["line"].to_numpy()
        hashes = encoded["text_hash"].to_numpy()
        splits = assign(hashes, lines, chunk.file, self._split, self._boundary)
        rejects = reject_table(chunk.source, chunk.byte_offset, rejected) if rejected else None
        batch = Batch.of(chunk, encoded, rejects, _sums(encoded, splits))
        output = locate(self._output)
        outputs = write_rejects(output, chunk.file, chunk.chunk, batch.rejects)
        for index, split in enumerate(SPLITS):
            part = encoded.filter(pa.array(splits == index))
            if part.num_rows:
                outputs.append(write_part(output, f"{split}/{part_name(chunk.file, chunk.chunk)}", part))
        return pa.table({"entry": [Entry.of(batch, outputs).to_json()]})


def encode_rows(rows: pa.Table, source: str, tokenizer: str, max_length: int) -> pa.Table:
    """Rows of rows.keep_lines as they are kept on disk for training: see architecture.md, Encoded row."""
    texts = rows["text"].combine_chunks()
    encoded = load_encoder(tokenizer, max_length)(texts)
    return pa.table(
        {
            "source": pa.array([source] * rows.num_rows, pa.string()).dictionary_encode(),
            "line": rows["line"],
            "text_hash": text_hash(texts),
            "stars": rows["stars"],
            "label": rows["label"],
            **{name: encoded[name] for name in encoded.column_names},
        }
    )


def _sums(encoded: pa.Table, splits: Any) -> dict[str, Any]:
    labels = encoded["label"].to_numpy()
    counts: dict[str, Any] = {
        "tokens": int(encoded["num_tokens"].to_numpy().sum()),
        "truncated": int(np.count_nonzero(encoded["truncated"].to_numpy(zero_copy_only=False))),
    }
    for index, split in enumerate(SPLITS):
        per_label = np.bincount(labels[splits == index])
        counts |= {f"{split}.{label}": int(n) for label, n in enumerate(per_label) if n}
    return counts


def _manifest(job: PrepareJob, ledger: Ledger, counts: Counts, start: float) -> Manifest:
    scheme = job.recipe.labels()
    assert scheme is not None
    labels = {
        split: {name: ledger.total(f"{split}.{i}") for i, name in enumerate(scheme.labels)}
        for split in SPLITS
    }
    splits = {split: sum(labels[split].values()) for split in SPLITS}
    for split in ("train", "val"):
        if not splits[split]:
            raise InputError(
                f"no row for {split} among {counts.rows} usable ones; give more input, or change"
                f" split.{split}_frac"
            )
    return Manifest.of(
        job.run,
        job.config,
        start,
        outputs=ledger.outputs(),
        counts=counts.model_copy(update={"splits": splits}),
        details={
            "labels": list(scheme.labels),
            "rows_by_label": labels,
            "tokens": ledger.total("tokens"),
            "truncated_rows": ledger.total("truncated"),
            "broken": ledger.broken,
        },
    )
