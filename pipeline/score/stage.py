"""The score stage: dumps or data/test → scores/, one part a chunk."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from pipeline import resources
from pipeline.config import Config, InputConfig, digest
from pipeline.copies import local_copy
from pipeline.errors import InputError, ModelError
from pipeline.ingest.columns import repeated
from pipeline.ingest.dataset import (
    Batch,
    ReadPlan,
    batch_table,
    map_batches,
    read_dataset,
    to_batch,
    to_chunk,
)
from pipeline.ingest.encode import load_encoder
from pipeline.ingest.formats import ENCODED, Format
from pipeline.ingest.ipc import from_ipc
from pipeline.ingest.labels import WORDS
from pipeline.ingest.rejects import reject_table
from pipeline.ingest.rows import CARRIED, TRUE_LABEL, Recipe, keep_lines
from pipeline.ingest.sources import Source, choose_chunk_bytes, encoded_sources, find_sources
from pipeline.inputs import expand_inputs
from pipeline.ledger import Entry, Ledger
from pipeline.manifest import (
    MANIFEST_FILE,
    Counts,
    InputFile,
    Manifest,
    Run,
    read_manifest,
    read_run,
    write_manifest,
)
from pipeline.model import ModelCard, fingerprint_model, read_card, tokenizer_json
from pipeline.outputs import State, begin, check_apart
from pipeline.parts import ENTRY_KEY, part_name, write_part, write_rejects
from pipeline.progress import Reporter
from pipeline.score.predictor import Predictor, PredictorOptions
from pipeline.score.resume import committed_entries
from pipeline.storage import Location, locate

LARGEST_CHUNK_BYTES = {"cpu": 1 << 20, "gpu": 8 << 20}
BATCH_TOKENS = {"cpu": 4096, "gpu": 65536}


@dataclass(frozen=True)
class ScoreJob:
    """Everything about a scoring job that is known before Ray starts."""

    output: Location
    sources: list[Source]
    recipe: Recipe
    tokenizer: str
    card: ModelCard
    model: Location
    run: Run
    config: Config
    max_rows: int | None
    """Lines to score at most, counted over the files."""


def plan(inputs: list[str], model: str, output: str, config: Config) -> ScoreJob:
    """Look at inputs, model and output; write nothing.

    The text is made as the model was trained: its max_length and separator, and its columns unless
    `input.text` names those of another dump.

    Raises:
        UserError: any of them does not fit, see errors.py.
    """
    where, to = locate(model), locate(output)
    card = read_card(where)
    tokenizer = tokenizer_json(local_copy(where))
    input_config = _input_config(inputs, config.input, card)
    files, sources = find_input(inputs, input_config, [to])
    check_apart(to, [*files, where])
    if is_split(inputs):
        _check_tokenizer(locate(inputs[0]).parent, where)
    run = Run(
        stage="score",
        inputs=[InputFile.of(f) for f in files],
        model_fingerprint=fingerprint_model(where),
        settings={
            "input": input_config.model_dump(mode="json", exclude={"max_rejected_frac", "strict"}),
            "score": config.score.model_dump(mode="json", include={"precision", "batch_tokens"}),
        },
    )
    recipe = Recipe(
        text_separator=card.text_separator,
        max_length=card.max_length,
        verified_only=input_config.verified_only,
        scheme=None,
        unescape_html=card.unescape_html,
        max_line_bytes=input_config.max_line_bytes,
        words=card.scheme == WORDS,
    )
    return ScoreJob(to, sources, recipe, tokenizer, card, where, run, config, input_config.max_rows)


def _input_config(inputs: list[str], config: InputConfig, card: ModelCard) -> InputConfig:
    if is_split(inputs):
        # Its rows were chosen and joined by prepare already.
        return InputConfig(max_rejected_frac=config.max_rejected_frac, strict=config.strict)
    own = {"text_separator": card.text_separator, "unescape_html": card.unescape_html}
    return config.model_copy(update={"text": config.text or card.text, **own})


def is_split(inputs: list[str]) -> bool:
    """Whether the input is a split of prepared data, as OUTPUT/test."""
    if len(inputs) != 1 or locate(inputs[0]).name not in ("train", "val", "test"):
        return False
    return locate(inputs[0]).parent.child(MANIFEST_FILE).exists()


def _check_tokenizer(data: Location, model: Location) -> None:
    """Raise ModelError unless the data were encoded with the tokenizer that the model was trained with."""
    encoded_with = read_manifest(data, "prepare").model_fingerprint
    if read_run(model).model_fingerprint != encoded_with:
        raise ModelError(
            f"{model.uri}: trained with another tokenizer than {data.uri} was encoded with; score the dumps"
            " themselves, or prepare them again with the model's tokenizer"
        )


def find_input(
    inputs: list[str], config: InputConfig, outputs: Collection[Location]
) -> tuple[list[Location], list[Source]]:
    """The input as files: those of a split of prepared data, by its manifest, or dumps; none in `outputs`."""
    if is_split(inputs):
        split = locate(inputs[0])
        manifest = read_manifest(split.parent, "prepare")
        files = [split.parent.child(o.path) for o in manifest.outputs if o.path.startswith(f"{split.name}/")]
        if not files:
            raise InputError(f"{split.uri}: this split has no rows")
        return files, encoded_sources(files)
    files = expand_inputs(inputs, outputs)
    return files, find_sources(files, config, need_stars=False)


def score(
    job: ScoreJob, cluster: resources.Cluster, reporter: Reporter, *, overwrite: bool = False
) -> Manifest:
    """Run the job on a cluster that is connected. Chunks that are scored already are not scored again.

    Returns:
        The manifest, also where the same job was finished before.
    Raises:
        OutputError, ErrorBudgetError, AccountingError: see errors.py.
    """
    start = time.monotonic()
    pools = resources.plan_score(cluster, len(job.sources), job.config.score.num_actors)
    run = job.run.model_copy(update={"resolved": _resolve(job, cluster, pools)})
    state = begin(job.output, run, overwrite=overwrite)
    if state is State.FINISHED:
        return read_manifest(job.output, "score")
    resolved = read_run(job.output).resolved
    ledger = Ledger(job.sources, job.config.input.max_rejected_frac, job.config.input.strict)
    for entry in committed_entries(job.output):
        ledger.add(entry)
    if ledger.entries:
        reporter.say(
            f"score: {len(ledger.entries)} chunks with {ledger.lines:,} lines were done before; going on"
        )
    dataset = _pipeline(job, run, resolved, pools, ledger)
    ledger.fill(dataset, reporter, "score")
    counts = ledger.close(all_files=job.max_rows is None)
    manifest = _manifest(job, ledger, counts, resolved, start)
    write_manifest(job.output, manifest)
    return manifest


def _resolve(job: ScoreJob, cluster: resources.Cluster, pools: resources.ScorePlan) -> dict[str, Any]:
    """Values that the settings leave open, chosen once for the life of the output."""
    device = "gpu" if pools.scorers.gpus else "cpu"
    chunk_bytes = job.config.input.chunk_bytes or choose_chunk_bytes(
        job.sources, largest=LARGEST_CHUNK_BYTES[device], consumers=pools.scorers.size
    )
    return {
        "chunk_bytes": chunk_bytes,
        "precision": resources.choose_precision(cluster, job.config.score.precision),
        "batch_tokens": job.config.score.batch_tokens or BATCH_TOKENS[device],
    }


def _pipeline(
    job: ScoreJob, run: Run, resolved: dict[str, Any], pools: resources.ScorePlan, ledger: Ledger
) -> Any:
    """read → encode → score → write, as a Ray dataset of the chunks' accounts."""
    done: dict[int, set[int]] = {}
    for file, chunk in ledger.entries:
        done.setdefault(file, set()).add(chunk)
    read = ReadPlan(resolved["chunk_bytes"], job.max_rows, job.recipe.max_line_bytes, done)
    work = _Work(job, run)
    model = (job.model.uri, str(job.run.model_fingerprint), job.card)
    options = PredictorOptions(*model, resolved["precision"], resolved["batch_tokens"], pools.scorers.threads)
    dataset = read_dataset(job.sources, read, pools.readers)
    dataset = map_batches(dataset, work.encode_chunk, pools.encoders)
    dataset = map_batches(dataset, Predictor, pools.scorers, fn_constructor_args=[options])
    return map_batches(dataset, work.write_chunk, pools.writers)


class _Work:
    """What a task needs to encode or write a chunk; small, sent to every worker once."""

    def __init__(self, job: ScoreJob, run: Run) -> None:
        self._output = job.output.uri
        self._forms = {s.number: s.form for s in job.sources}
        self._recipe = job.recipe
        self._tokenizer = job.tokenizer
        self._card = job.card
        self._run = digest([run.settings, run.model_fingerprint])

    def encode_chunk(self, table: pa.Table) -> pa.Table:
        """The rows of a chunk, encoded."""
        chunk = to_chunk(table)
        form = self._forms[chunk.file]
        if form == ENCODED:
            rows, rejects = _carried_only(from_ipc(chunk.raw), self._card), None
        else:
            assert isinstance(form, Format)
            kept = keep_lines(chunk, form, self._recipe)
            rows = _encode(kept.rows, chunk.source, self._tokenizer, self._recipe)
            rejects = reject_table(chunk.source, chunk.byte_offset, kept.rejected) if kept.rejected else None
        return batch_table(Batch.of(chunk, rows, rejects))

    def write_chunk(self, table: pa.Table) -> pa.Table:
        """Commit a scored chunk, its rejects first, and hand on its account.

        The part is there also where no row is left: it stands for the chunk.
        """
        batch = to_batch(table)
        output = locate(self._output)
        outputs = write_rejects(output, batch.file, batch.chunk, batch.rejects)
        entry = Entry.of(batch, outputs)
        metadata = {ENTRY_KEY: entry.to_json().encode(), b"rayview.run": self._run.encode()}
        part = write_part(output, part_name(batch.file, batch.chunk), batch.rows, metadata)
        return pa.table({"entry": [replace(entry, outputs=[*outputs, part]).to_json()]})


def _encode(rows: pa.Table, source: str, tokenizer: str, recipe: Recipe) -> pa.Table:
    encoded = load_encoder(tokenizer, recipe.max_length)(rows["text"].combine_chunks())
    columns = {
        "source": repeated(source, rows.num_rows),
        "line": rows["line"],
        **{name: rows[name] for name in CARRIED},
        **({TRUE_LABEL: rows["word"]} if recipe.words else {}),
        **{name: encoded[name] for name in ("input_ids", "num_tokens", "truncated")},
    }
    return pa.table(columns)


def _carried_only(rows: pa.Table, card: ModelCard) -> pa.Table:
    """Rows that prepare encoded, with the columns that rows of a dump have; unknown ones are null."""
    types = {"asin": pa.string(), "user_id": pa.string(), "timestamp": pa.timestamp("ms", tz="UTC")}
    types["verified"] = pa.bool_()
    columns = {"source": rows["source"], "line": rows["line"]}
    columns |= {name: pa.nulls(rows.num_rows, kind) for name, kind in types.items()}
    columns["stars"] = rows["stars"]
    if card.scheme == WORDS:
        columns[TRUE_LABEL] = pa.array(card.labels, pa.string()).take(rows["label"])
    return pa.table(columns | {n: rows[n] for n in ("input_ids", "num_tokens", "truncated")})


def _manifest(
    job: ScoreJob, ledger: Ledger, counts: Counts, resolved: dict[str, Any], start: float
) -> Manifest:
    tokens, padded = ledger.total("tokens"), ledger.total("padded_tokens")
    return Manifest.of(
        job.run,
        job.config,
        start,
        outputs=ledger.outputs(),
        counts=counts,
        details={
            **resolved,
            "labels": job.card.labels,
            "scheme": job.card.scheme,
            "tokens": tokens,
            "padding_frac": round(1 - tokens / padded, 4) if padded else 0.0,
            "forward_s": round(ledger.total("forward_s"), 3),
            "formats": {s.uri: s.form_name for s in job.sources},
            "broken": ledger.broken,
        },
    )
