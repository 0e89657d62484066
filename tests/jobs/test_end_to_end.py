"""All stages on one small dump: prepare, train, score, evaluate, as the jobs call them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from jobs import score as score_job
from pipeline.details import PrepareDetails, ScoreDetails, TrainDetails
from pipeline.errors import InputError, ModelError, OutputError, SettingError
from pipeline.evaluate import stage as evaluate_stage
from pipeline.evaluate.baseline import compare
from pipeline.ingest.ledger import Ledger
from pipeline.prepare import stage as prepare_stage
from pipeline.progress import Reporter
from pipeline.rundir.claim import State, check_output
from pipeline.rundir.manifest import read_manifest, read_run
from pipeline.runtime.pools import Cluster, Node
from pipeline.score import stage as score_stage
from pipeline.score.job import ScoreJob
from pipeline.score.verify import verify
from pipeline.storage.location import locate
from pipeline.storage.objectstore import TEMPORARY_MARK
from pipeline.train import stage as train_stage
from tests.commands import RunJob
from tests.main_job import STAGES, Outputs, check_held_out, options
from tests.runs import DECLARATIONS

pytestmark = pytest.mark.ray


def read_split(outputs: Outputs, split: str) -> pa.Table:
    manifest = read_manifest(locate(outputs.data), PrepareDetails)
    parts = [o.path for o in manifest.outputs if o.path.startswith(f"{split}/")]
    return pa.concat_tables([pq.read_table(outputs.data / p) for p in parts])


def read_scores(folder: Path) -> pa.Table:
    manifest = read_manifest(locate(folder), ScoreDetails)
    table = pa.concat_tables([pq.read_table(folder / o.path) for o in manifest.outputs if "/" not in o.path])
    table = table.set_column(0, "source", table["source"].cast(pa.string()))
    return table.sort_by([("source", "ascending"), ("line", "ascending")]).replace_schema_metadata()


def test_every_file_of_an_output_is_declared(outputs: Outputs) -> None:
    for folder, stage in STAGES.items():
        names = {
            f.relative_to(outputs.base / folder).as_posix() for f in (outputs.base / folder).rglob("*.*")
        }
        assert {"run.json", "manifest.json"} < names
        others = names - {"run.json", "manifest.json"}
        assert [name for name in sorted(others) if not DECLARATIONS[stage].includes(name)] == []


def test_every_stage_leaves_a_manifest_with_the_agreed_keys(outputs: Outputs) -> None:
    keys = {"stage", "version", "config", "config_digest", "inputs", "outputs", "model_fingerprint"}
    keys |= {"counts", "seconds", "environment"}
    for folder, stage in STAGES.items():
        manifest = json.loads((outputs.base / folder / "manifest.json").read_text())
        assert keys <= manifest.keys()
        assert manifest["stage"] == stage
        for output in manifest["outputs"]:
            assert (outputs.base / folder / output["path"]).stat().st_size == output["bytes"]
    assert read_manifest(locate(outputs.data), PrepareDetails).config_digest == outputs.config.digest()


def test_manifests_state_the_columns(outputs: Outputs) -> None:
    details = read_manifest(locate(outputs.data), PrepareDetails).details
    assert details.columns.keys() == details.formats.keys()
    assert {tuple(c.text) for c in details.columns.values()} == {("summary", "reviewText")}
    assert {c.stars for c in details.columns.values()} == {"overall"}


def test_training_on_one_class_is_refused(outputs: Outputs, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(outputs.data, data)
    manifest = json.loads((data / "manifest.json").read_text())
    rows = manifest["details"]["rows_by_label"]["train"]
    rows |= dict.fromkeys(rows, 0) | {"5": 30}
    (data / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"all 30 training rows have the class 5; .*input\.stars"):
        train_stage.plan(str(data), str(tmp_path / "model"), outputs.config)


def test_every_line_is_kept_or_rejected(outputs: Outputs) -> None:
    manifest = read_manifest(locate(outputs.data), PrepareDetails)
    assert manifest.counts is not None
    rows = sum(read_split(outputs, s).num_rows for s in ("train", "val", "test"))
    assert manifest.counts.lines == 1200
    assert manifest.counts.rows == rows == sum(manifest.counts.splits.values())
    assert rows + sum(manifest.counts.rejected.values()) == 1200
    rejects = [o for o in manifest.outputs if o.path.startswith("rejects/")]
    assert sum(o.rows or 0 for o in rejects) == sum(manifest.counts.rejected.values())


def test_encoded_rows_have_the_agreed_schema_and_the_tokenizer_s_ids(outputs: Outputs, dump: Path) -> None:
    from isal import igzip
    from transformers import AutoTokenizer

    table = read_split(outputs, "train")
    assert table.schema.names == (
        ["source", "line", "text_hash", "stars", "label", "input_ids", "num_tokens", "truncated"]
    )
    tokenizer = AutoTokenizer.from_pretrained(outputs.config.model.name)
    lines: dict[str, list[bytes]] = {}
    for row in table.slice(0, 200).to_pylist():
        source = row["source"]
        if source not in lines:
            lines[source] = igzip.open(source).read().split(b"\n")
        review = json.loads(lines[source][row["line"] - 1])
        text = " ".join(review[k] for k in ("summary", "reviewText") if k in review).strip()
        assert row["input_ids"] == tokenizer(text, truncation=True, max_length=32)["input_ids"]
        assert row["truncated"] == (len(tokenizer(text)["input_ids"]) > 32)
        assert row["stars"] == review["overall"] == row["label"] + 1
    assert str(dump) in table["source"][0].as_py()


def test_no_text_is_in_two_splits(outputs: Outputs) -> None:
    hashes = {s: set(read_split(outputs, s)["text_hash"].to_pylist()) for s in ("train", "val", "test")}
    assert not hashes["train"] & hashes["val"]
    assert not (hashes["train"] | hashes["val"]) & hashes["test"]


def test_the_model_loads_with_plain_transformers(outputs: Outputs) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(outputs.model)
    assert model.config.id2label == {i: str(i + 1) for i in range(5)}
    assert model.config.label2id == {str(i + 1): i for i in range(5)}
    assert AutoTokenizer.from_pretrained(outputs.model)("good")["input_ids"][0] == 2
    card = json.loads((outputs.model / "rayview.json").read_text())
    assert card["labels"] == ["1", "2", "3", "4", "5"]
    assert card["max_length"] == 32
    assert not (outputs.model / "checkpoints").exists()


def test_training_learned_something(outputs: Outputs) -> None:
    history = read_manifest(locate(outputs.model), TrainDetails).details.history
    assert history[-1].train_loss < history[0].train_loss
    assert min(epoch.val_loss for epoch in history) < np.log(5)


def test_scores_are_those_of_a_plain_loop(outputs: Outputs) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    scores = read_scores(outputs.scores)
    assert scores.schema.names == (
        ["source", "line", "asin", "user_id", "timestamp", "verified", "stars", "label", "score"]
        + [f"prob_{i}" for i in range(1, 6)]
        + ["num_tokens", "truncated"]
    )
    test = read_split(outputs, "test")
    test = test.set_column(0, "source", test["source"].cast(pa.string()))
    test = test.sort_by([("source", "ascending"), ("line", "ascending")])
    assert scores["line"].to_pylist() == test["line"].to_pylist()
    model = AutoModelForSequenceClassification.from_pretrained(outputs.model).eval()
    probs = np.stack([scores[f"prob_{i}"].to_numpy() for i in range(1, 6)], 1)
    with torch.inference_mode():
        for row in range(0, scores.num_rows, 7):
            ids = torch.tensor([test["input_ids"][row].as_py()])
            expected = model(input_ids=ids).logits.softmax(1)[0].numpy()
            np.testing.assert_allclose(probs[row], expected, atol=1e-5)
            assert scores["label"][row].as_py() == str(expected.argmax() + 1)
            assert scores["score"][row].as_py() == probs[row].max()


# With two CPUs, one actor computes two chunks at once, each with one thread.
TWO_CPUS = Cluster((Node(2.0),))


@pytest.fixture(scope="module")
def scored(outputs: Outputs, dump: Path, tmp_path_factory: pytest.TempPathFactory) -> ScoreJob:
    """A finished job that scored the small dump, and a file whose only line is rejected, with one actor."""
    folder = tmp_path_factory.mktemp("scored")
    (folder / "empty.json").write_text('{"overall": 5.0, "reviewText": " "}\n')
    inputs = [str(dump), str(folder / "empty.json")]
    job = score_stage.plan(inputs, str(outputs.model), str(folder / "scores"), outputs.config)
    score_stage.score(job, TWO_CPUS, Reporter())
    return job


def copy_of(job: ScoreJob, folder: Path) -> ScoreJob:
    """The same finished job in another directory."""
    shutil.copytree(job.output.uri, folder)
    return replace(job, output=locate(folder))


def test_a_dump_gives_the_same_rows_for_any_number_of_actors(scored: ScoreJob, tmp_path: Path) -> None:
    other = replace(
        scored, output=locate(tmp_path / "two"), config=scored.config.replace(score__num_actors=2)
    )
    score_stage.score(other, TWO_CPUS, Reporter())
    table = read_scores(Path(scored.output.uri))
    assert table.equals(read_scores(tmp_path / "two"))
    assert table["asin"].null_count == 0
    manifest = read_manifest(scored.output, ScoreDetails)
    assert manifest.counts is not None
    assert manifest.counts.rejected["empty_text"] > 0
    assert table.num_rows + sum(manifest.counts.rejected.values()) == 1201
    for job in (scored, other):
        assert verify(job.output).faults == {}


def test_rejects_of_scores_are_files_of_the_stage(scored: ScoreJob) -> None:
    # A scored split has none.
    assert (Path(scored.output.uri) / "rejects").is_dir()
    assert check_output(scored.output, read_run(scored.output), overwrite=True) is State.FRESH


def test_the_main_job_scores_another_dump_with_a_finished_model(
    outputs: Outputs, tiny_model: Path, dump: Path, run_job: RunJob, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for name in ("data", "model"):
        shutil.copytree(outputs.base / name, out / name)
    *_, held_out = sorted(dump.iterdir())
    outcome = run_job("run", dump, "--score", held_out, "--output", out, *options(tiny_model))
    assert outcome.code == 0, outcome.stderr
    assert f"prepare: already finished → {out}/data" in outcome.stderr
    assert f"train: already finished → {out}/model" in outcome.stderr
    check_held_out(out)


def test_a_resumed_score_writes_the_same_rows(
    scored: ScoreJob, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "s"
    job = copy_of(scored, folder)
    counts = read_manifest(job.output, ScoreDetails).counts
    assert counts is not None
    whole, parts = read_scores(folder), sorted(folder.glob("part-*.parquet"))
    assert len(parts) > 3
    kept = {p: p.stat().st_mtime_ns for p in parts[1:]}
    lost = parts[0].read_bytes()
    (folder / "manifest.json").unlink()
    parts[0].unlink()
    for directory in (folder, folder / "rejects"):
        # A writer was killed.
        (directory / f"{TEMPORARY_MARK}0-{parts[0].name}").write_bytes(lost[:100])
    before, fill = [], Ledger.fill

    def watched(self: Ledger, *arguments: Any) -> None:
        before.append(self.lines)
        fill(self, *arguments)

    monkeypatch.setattr(Ledger, "fill", watched)
    # The first run had two CPUs, this one has one.
    score_stage.score(job, cluster, Reporter())
    # Lines rejected by the first run count towards the error budget from the start.
    assert 0 < before[0] < counts.lines
    assert read_scores(folder).equals(whole)
    assert {p: p.stat().st_mtime_ns for p in parts[1:]} == kept
    assert parts[0].read_bytes() == lost
    assert verify(job.output).faults == {}


def test_extend_adds_files_to_finished_scores(
    outputs: Outputs, scored: ScoreJob, dump: Path, cluster: Any, tmp_path: Path
) -> None:
    """New files that sort before the others get later numbers; existing parts stay unchanged."""
    out, first = tmp_path / "s", min(dump.iterdir())
    copy_of(scored, out)
    added = tmp_path / "a" / first.name
    added.parent.mkdir()
    shutil.copy(first, added)
    inputs = [str(added), *(source.uri for source in scored.sources)]

    def score(*, extend: bool) -> None:
        plan = score_stage.plan(inputs, str(outputs.model), str(out), outputs.config, extend=extend)
        score_stage.score(plan, cluster, Reporter(), extend=extend)

    before = {p.name: p.stat().st_mtime_ns for p in out.rglob("part-*")}
    with pytest.raises(OutputError, match=rf"{added}: the existing run has none"):
        score(extend=False)
    score(extend=True)
    after = {p.name: p.stat().st_mtime_ns for p in out.rglob("part-*")}
    assert {n: after[n] for n in before} == before
    verdict = verify(locate(out))
    assert verdict.faults == {}
    assert [f.source for f in verdict.files] == [*(source.uri for source in scored.sources), str(added)]
    assert verdict.files[0].lines == verdict.files[-1].lines > 0
    scores = read_scores(out)
    names = ["line", "asin", "label", "score"]
    one, other = (scores.filter(pc.equal(scores["source"], str(file))) for file in (first, added))
    assert one.num_rows > 0
    assert one.select(names).equals(other.select(names))
    score(extend=True)
    assert {p.name: p.stat().st_mtime_ns for p in out.rglob("part-*")} == after
    # max_rows counts lines over all files; with more files it would select other lines.
    limited = outputs.config.replace(input__max_rows=9)
    with pytest.raises(SettingError, match=r"input\.max_rows=9 cannot be combined with --extend"):
        score_stage.plan(inputs, str(outputs.model), str(out), limited, extend=True)


def test_metrics_are_scikit_learn_s(outputs: Outputs) -> None:
    from sklearn import metrics as sk

    scores = read_scores(outputs.scores)
    truth = scores["stars"].to_numpy().astype(int) - 1
    probs = np.stack([scores[f"prob_{i}"].to_numpy() for i in range(1, 6)], 1).astype(np.float64)
    predicted = probs.argmax(1)
    ours = json.loads((outputs.report / "metrics.json").read_text())
    assert ours["rows"] == len(truth)
    assert ours["accuracy"] == pytest.approx(sk.accuracy_score(truth, predicted), abs=1e-12)
    assert ours["mae"] == pytest.approx(np.abs(truth - predicted).mean(), abs=1e-12)
    weighted = sk.precision_recall_fscore_support(truth, predicted, average="weighted", zero_division=0)
    assert ours["weighted_f1"] == pytest.approx(weighted[2], abs=1e-12)
    for i, name in enumerate(ours["labels"]):
        expected = sk.roc_auc_score(truth == i, probs[:, i])
        assert ours["roc_auc"]["per_class"][name] == pytest.approx(expected, abs=1e-12)
    assert ours["confusion"] == sk.confusion_matrix(truth, predicted, labels=range(5)).tolist()
    assert ours["majority"]["accuracy"] == pytest.approx(np.bincount(truth).max() / len(truth), abs=1e-12)


def test_the_report_has_its_files(outputs: Outputs) -> None:
    names = {"metrics.json", "roc.png", "confusion.png", "report.html", "manifest.json", "run.json"}
    assert {p.name for p in outputs.report.iterdir()} == names
    assert (outputs.report / "roc.png").read_bytes().startswith(b"\x89PNG")


def test_baselines_are_measured_on_the_same_rows(outputs: Outputs) -> None:
    figures = compare(str(outputs.base))
    ours = json.loads((outputs.report / "metrics.json").read_text())
    assert figures["rayview"]["accuracy"] == ours["accuracy"]
    stars = read_scores(outputs.scores)["stars"].to_pylist()
    commonest = max(stars.count(s) for s in set(stars))
    assert figures["majority"]["accuracy"] == pytest.approx(commonest / len(stars))
    # The stars of a synthetic review follow from its words, which TF-IDF sees.
    assert figures["TF-IDF + logistic regression"]["roc_auc_macro"] > 0.7


def test_the_same_stage_twice_does_nothing(outputs: Outputs, dump: Path, cluster: Any) -> None:
    before = (outputs.data / "manifest.json").stat().st_mtime_ns
    plan = prepare_stage.plan([str(dump)], str(outputs.data), outputs.config)
    prepare_stage.prepare(plan, cluster, Reporter())
    assert (outputs.data / "manifest.json").stat().st_mtime_ns == before
    assert read_run(locate(outputs.scores)).resolved["precision"] == "float32"


@pytest.mark.parametrize(("folder", "stage"), STAGES.items())
def test_the_files_that_a_stage_writes_are_recognized(outputs: Outputs, folder: str, stage: str) -> None:
    where = locate(outputs.base / folder)
    there = read_run(where)
    assert there.stage == stage
    assert check_output(where, there) is State.FINISHED
    # Unrecognized files would prevent deletion.
    assert check_output(where, there, overwrite=True) is State.FRESH


def test_stages_do_not_write_to_their_inputs(outputs: Outputs, dump: Path, tmp_path: Path) -> None:
    data, model, scores = (str(outputs.base / n) for n in ("data", "model", "scores"))
    own_model = outputs.config.replace(model__name=model)
    plans = [
        lambda: prepare_stage.plan([str(dump)], model, own_model),
        lambda: train_stage.plan(data, data, outputs.config),
        lambda: train_stage.plan(data, model, own_model),
        lambda: score_stage.plan([f"{data}/test"], model, data, outputs.config),
        lambda: score_stage.plan([str(dump)], model, model, outputs.config),
        lambda: evaluate_stage.plan(scores, scores, outputs.config),
    ]
    for plan in plans:
        with pytest.raises(OutputError, match="is inside the output directory"):
            plan()


def test_a_split_is_not_scored_by_a_model_with_another_tokenizer(outputs: Outputs, tmp_path: Path) -> None:
    other = tmp_path / "model"
    shutil.copytree(outputs.model, other)
    about = json.loads((other / "run.json").read_text()) | {"model_fingerprint": "another"}
    (other / "run.json").write_text(json.dumps(about))
    with pytest.raises(ModelError, match="its tokenizer differs from"):
        score_stage.plan([f"{outputs.data}/test"], str(other), str(tmp_path / "s"), outputs.config)


def test_a_model_that_changes_under_a_job_is_not_used(outputs: Outputs, cluster: Any, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(outputs.model, model)
    job = score_stage.plan([f"{outputs.data}/test"], str(model), str(tmp_path / "s"), outputs.config)
    card = json.loads((model / "rayview.json").read_text())
    (model / "rayview.json").write_text(json.dumps(card | {"data_fingerprint": "another"}))
    with pytest.raises(ModelError) as raised:
        score_stage.score(job, cluster, Reporter())
    assert str(raised.value) == f"{model}: changed while the job was running; rerun the command"
    assert not list((tmp_path / "s").glob("part-*"))


def test_a_split_is_scored_completely(
    outputs: Outputs, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    split = str(outputs.data / "test")
    with pytest.raises(SystemExit) as end:
        score_job.main([split], str(outputs.model), str(tmp_path / "s"), sets=["input.max_rows=9"])
    assert end.value.code == SettingError.exit_code
    expected = f"error: input.max_rows=9 does not apply to {split}, a split of prepared data; omit it"
    assert capfd.readouterr().err.startswith(expected)
    assert not (tmp_path / "s").exists()
