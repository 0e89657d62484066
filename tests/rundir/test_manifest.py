"""Contents of run.json and manifest.json, and the errors for damaged files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.config import Config, InputConfig
from pipeline.details import Bill, PrecisionChange, PrepareDetails, ScoreDetails
from pipeline.errors import AccountingError, InputError, OutputError
from pipeline.rundir.manifest import (
    Counts,
    FileCounts,
    InputFile,
    OutputFile,
    environment,
    read_common_manifest,
    read_manifest,
    read_run,
    write_manifest,
)
from pipeline.storage.location import Location, locate
from tests.runs import BILL, DETAILS, RUN, manifest_of


def test_reading_reports_missing_damaged_and_foreign_files(out: Location) -> None:
    with pytest.raises(InputError, match="no such directory"):
        read_manifest(out, PrepareDetails)
    out.child("a").write_bytes(b"x")
    with pytest.raises(InputError, match=r"contains no manifest\.json; it is not an output of rayview"):
        read_manifest(out, PrepareDetails)
    with pytest.raises(InputError, match=r"contains no run\.json; it is not an output of rayview"):
        read_run(out)
    for damaged in (b'{"stage": "prep', b"{}", b"[]", b"\xff"):
        out.child("manifest.json").write_bytes(damaged)
        with pytest.raises(InputError, match=r"manifest\.json: damaged"):
            read_manifest(out, PrepareDetails)
    write_manifest(out, manifest_of(RUN))
    with pytest.raises(InputError, match=r"holds the output of jobs\.score, not of jobs\.prepare"):
        read_manifest(out, PrepareDetails)


def test_manifest_with_inconsistent_counts_is_not_written(out: Location) -> None:
    counts = Counts(lines=10, rows=8, rejected={"bad_json": 1})
    with pytest.raises(AccountingError, match=r"10 lines in, but 8 rows and 1 rejected lines out"):
        write_manifest(out, manifest_of(RUN, counts=counts))
    assert not out.exists()


def test_manifest_with_a_missing_or_changed_output_is_not_written(out: Location) -> None:
    manifest = manifest_of(RUN, outputs=[OutputFile(path="train/a.parquet", rows=2, bytes=9)])
    for lack in ("is missing", "has 5 bytes, not 9"):
        with pytest.raises(OutputError) as raised:
            write_manifest(out, manifest)
        assert str(raised.value) == (
            f"{out.uri}: train/a.parquet {lack}, although this job wrote it; make sure that nothing else uses"
            " this directory, and rerun the command"
        )
        assert not out.child("manifest.json").exists()
        out.child("train/a.parquet").write_bytes(b"other")


def test_manifest_has_the_documented_keys(out: Location) -> None:
    file = FileCounts(lines=3, rows=2, rejected={"bad_json": 1}, physical_lines=4)
    counts = Counts(
        lines=3,
        rows=2,
        rejected={"bad_json": 1},
        splits={"train": 2},
        files={"/in/a": file},
        physical_lines=4,
        error_lines=2,
    )
    outputs = [OutputFile(path="train/a.parquet", rows=2, bytes=9)]
    out.child("train/a.parquet").write_bytes(b"9 bytes..")
    write_manifest(out, manifest_of(RUN, counts=counts, outputs=outputs, environment=environment()))
    data = json.loads(out.child("manifest.json").read_bytes())
    keys = "stage version config config_digest inputs outputs model_fingerprint counts seconds environment"
    assert set(keys.split()) <= set(data)
    whole = {"lines": 3, "rows": 2, "rejected": {"bad_json": 1}, "physical_lines": 4}
    assert data["counts"] == {**whole, "splits": {"train": 2}, "files": {"/in/a": whole}, "error_lines": 2}
    assert data["inputs"][0] == {"path": "/in/a", "size_bytes": 1, "fingerprint": "aaaa"}
    assert data["outputs"] == [{"path": "train/a.parquet", "rows": 2, "bytes": 9}]
    assert data["environment"]["packages"]["pyarrow"]


def test_unknown_keys_of_a_later_version_are_ignored(out: Location) -> None:
    write_manifest(out, manifest_of(RUN))
    data = json.loads(out.child("manifest.json").read_bytes()) | {"new_key": 1}
    out.child("manifest.json").write_bytes(json.dumps(data).encode())
    assert read_manifest(out, ScoreDetails) == manifest_of(RUN)


def test_unknown_settings_are_ignored_and_missing_ones_get_defaults(out: Location) -> None:
    write_manifest(out, manifest_of(RUN, config=Config(input=InputConfig(text_separator="|"))))
    data = json.loads(out.child("manifest.json").read_bytes())
    data["config"]["input"]["later"] = data["config"]["later"] = 1
    del data["config"]["labels"], data["config"]["input"]["strict"]
    data["details"]["later"] = 1
    out.child("manifest.json").write_bytes(json.dumps(data).encode())
    read = read_manifest(out, ScoreDetails)
    assert read.config == Config(input=InputConfig(text_separator="|"))
    assert read.details == DETAILS


@pytest.mark.parametrize(
    ("section", "key", "value", "said"),
    [
        ("details", "bill", None, "details.bill: Input should be an object"),
        ("details", "tokens", "many", "details.tokens: Input should be a valid integer"),
        ("config", "labels", {"scheme": "hearts"}, "config.labels.scheme: Input should be 'stars'"),
    ],
)
def test_invalid_field_is_named(out: Location, section: str, key: str, value: object, said: str) -> None:
    write_manifest(out, manifest_of(RUN))
    data = json.loads(out.child("manifest.json").read_bytes())
    data[section][key] = value
    out.child("manifest.json").write_bytes(json.dumps(data).encode())
    with pytest.raises(InputError) as raised:
        read_manifest(out, ScoreDetails)
    text = str(raised.value)
    assert text.startswith(f"{out.uri}/manifest.json: damaged, or from another version of rayview ({said}")
    assert text.endswith("; use --overwrite to rebuild it")
    assert "\n" not in text


def test_common_manifest_is_read_without_stage_details(out: Location) -> None:
    write_manifest(out, manifest_of(RUN))
    found = read_common_manifest(out, "score")
    assert (found.inputs, found.outputs, found.seconds) == (RUN.inputs, [], 1.5)
    with pytest.raises(InputError, match=r"holds the output of jobs\.score, not of jobs\.train"):
        read_common_manifest(out, "train")


def test_fields_that_are_not_set_are_not_written(out: Location) -> None:
    write_manifest(out, manifest_of(RUN))
    written = json.loads(out.child("manifest.json").read_bytes())["details"]
    assert "against_float32" not in written
    assert not {"peak_frac", "price_per_million_rows"} & set(written["bill"])
    change = PrecisionChange(rows=2, labels_changed_frac=0.5, largest_change=0.25)
    bill = Bill(**BILL.model_dump(), price_per_million_rows=1.23456789)
    details = ScoreDetails(**DETAILS.model_dump() | {"against_float32": change, "bill": bill})
    write_manifest(out, manifest_of(RUN, details=details))
    written = json.loads(out.child("manifest.json").read_bytes())["details"]
    assert written["against_float32"] == {"rows": 2, "labels_changed_frac": 0.5, "largest_change": 0.25}
    assert (written["bill"]["price_per_million_rows"], "peak_frac" in written["bill"]) == (1.23457, False)
    assert read_manifest(out, ScoreDetails).details == details


def test_fingerprint_of_an_input_file_changes_with_its_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    before = InputFile.of(locate(tmp_path / "a"))
    assert (before.path, before.size_bytes) == (f"{tmp_path}/a", 5)
    (tmp_path / "a").write_bytes(b"12346")
    after = InputFile.of(locate(tmp_path / "a"))
    assert after.size_bytes == 5
    assert after.fingerprint != before.fingerprint
