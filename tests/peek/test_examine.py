"""Reports on files: facts with known values, estimates, proposals, and the next command."""

from __future__ import annotations

import csv
import gzip
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import Config
from pipeline.model.tokenizer import tokenizer_json
from pipeline.peek.examine import FileReport, examine
from pipeline.peek.render import next_command, render
from pipeline.peek.scripts import script_shares
from pipeline.settings import load_config
from pipeline.storage.location import locate

ROWS = 40
RECORDS = [
    {"overall": n % 5 + 1, "reviewText": f"lamp number {n} works well", "asin": "B1"} for n in range(ROWS)
]


def write(file: Path, records: Iterable[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(record) + "\n" for record in records).encode()
    file.write_bytes(gzip.compress(text) if file.suffix == ".gz" else text)
    return file


def report_on(
    file: Path, *sets: str, tokenizer: str | None = None, max_bytes: int = 1 << 20, seconds: float = 60
) -> FileReport:
    config = load_config(None, sets)
    until = time.monotonic() + seconds
    return examine(locate(file), config, tokenizer, max_bytes=max_bytes, deadline=until)


def test_facts_of_a_small_file(tmp_path: Path, tiny_model: Path) -> None:
    bad = [{"overall": 3, "reviewText": " "}, {"overall": 9, "reviewText": "Too many"}]
    file = write(tmp_path / "a.json.gz", [*RECORDS, RECORDS[0], *bad])
    report = report_on(file, "tokenize.max_length=4", tokenizer=tokenizer_json(tiny_model))
    assert (report.error, report.settings) == (None, {})
    (warning,) = report.warnings
    assert warning.startswith("overall: 1 of the first 43 ratings are not on the scale 1-5, for example 9")
    assert (report.format, report.compression) == ("amazon_2018, JSON lines", "gzip")
    assert report.rows is not None
    assert (report.rows.rows, report.rows.low, report.rows.high) == (ROWS + 3, ROWS + 3, ROWS + 3)
    facts = report.facts
    assert facts.rows == ROWS + 1
    assert facts.stars == {"1": 9, "2": 8, "3": 8, "4": 8, "5": 8}
    assert facts.rejected == {"empty_text": 1, "stars_out_of_range": 1}
    assert facts.examples["empty_text"].startswith(f"line {ROWS + 2}: ")
    assert facts.repeated_frac == pytest.approx(1 / (ROWS + 1))
    assert facts.scripts == {"Latin": 1.0}
    assert facts.truncated_frac == 1.0
    assert [r.line for r in facts.reviews] == [1, 21, 41]
    assert all(r.truncated and r.num_tokens == 4 for r in facts.reviews)
    assert facts.reviews[0].text == "lamp number"[: len(facts.reviews[0].text)]
    roles = {c.name: (c.role, c.examples) for c in report.columns}
    assert roles["overall"] == ("stars", ["1", "2", "3"])
    assert roles["asin"] == ("asin", ["B1"])


def test_lengths_are_those_of_the_tokenizer(tmp_path: Path, tiny_model: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(tokenizer_json(tiny_model))
    lengths = sorted(len(tokenizer.encode(r["reviewText"]).ids) for r in RECORDS)
    report = report_on(write(tmp_path / "a.json", RECORDS), tokenizer=tokenizer_json(tiny_model))
    assert report.facts.token_quantiles["0.5"] == lengths[ROWS // 2 - 1]
    assert report.facts.token_quantiles["0.99"] == lengths[-1]
    assert report.facts.truncated_frac == 0


@pytest.mark.parametrize("suffix", ["json", "json.gz"])
def test_the_estimate_of_a_large_file_covers_its_rows(tmp_path: Path, suffix: str) -> None:
    rows = 60_000
    file = write(
        tmp_path / f"a.{suffix}",
        ({"overall": 5, "reviewText": f"lamp {n % 977} works" * (n % 7 + 1)} for n in range(rows)),
    )
    report = report_on(file, max_bytes=3 << 20)
    assert report.rows is not None
    assert report.sampled_rows < rows
    assert report.rows.low < report.rows.high
    assert report.rows.low * 0.9 <= rows <= report.rows.high * 1.1
    assert abs(report.rows.rows - rows) < 0.2 * rows
    assert report.spread == (suffix == "json")
    assert not report.whole


def test_a_sample_from_several_positions_sees_the_end(tmp_path: Path) -> None:
    """A file sorted by stars."""
    records = ({"overall": n // 12_000 + 1, "reviewText": f"lamp {n} works"} for n in range(60_000))
    report = report_on(write(tmp_path / "a.json", records), max_bytes=1 << 20)
    assert list(report.facts.stars) == ["1", "2", "3", "4", "5"]
    assert report.facts.rejected == {}


def test_parquet_states_its_rows(tmp_path: Path) -> None:
    table = pa.table(
        {"stars": [n % 5 + 1.0 for n in range(ROWS)], "text": [f"lamp {n}" for n in range(ROWS)]}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    report = report_on(tmp_path / "a.parquet")
    assert report.rows is not None
    assert (report.rows.rows, report.rows.low, report.facts.rows) == (ROWS, ROWS, ROWS)


def test_columns_of_an_unknown_format_are_proposed(tmp_path: Path) -> None:
    records = [{"id": n, "comment": f"lamp number {n} works", "score": n % 5 + 1} for n in range(ROWS)]
    report = report_on(write(tmp_path / "a.json", records))
    assert report.error is not None
    assert report.error.startswith("unknown review format; fields: comment, id, score")
    assert report.settings == {"input.text": "comment", "input.stars": "score"}
    assert report.facts.rows == ROWS
    command = next_command([report], ["a.json"], ["labels.scheme=sentiment"])
    assert command == (
        "python -m jobs.prepare a.json --set labels.scheme=sentiment --set input.text=comment"
        " --set input.stars=score --output data"
    )


def test_the_proposed_settings_read_the_file(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([n % 5 + 1, "My view", f"lamp number {n}, really"] for n in range(ROWS))
    report = report_on(tmp_path / "a.csv")
    assert report.settings["input.columns"] == "stars,column_2,text"
    again = report_on(tmp_path / "a.csv", *(f"{name}={value}" for name, value in report.settings.items()))
    assert (again.error, again.settings, again.facts.stars) == (None, {}, report.facts.stars)
    assert again.facts.rows == ROWS


def test_unlabeled_reviews_are_scored_next(tmp_path: Path) -> None:
    report = report_on(write(tmp_path / "a.json", [{"reviewText": f"lamp {n}"} for n in range(ROWS)]))
    assert (report.error, report.has_stars, report.facts.stars) == (None, False, {})
    command = next_command([report], ["my dump.json"], [])
    assert command == "python -m jobs.score 'my dump.json' --model MODEL --output scores"


def test_a_file_that_is_not_reviews_is_refused(tmp_path: Path) -> None:
    meta = report_on(write(tmp_path / "a.json", [{"title": "Lamp", "average_rating": 4.1}] * ROWS))
    assert meta.error is not None
    assert meta.columns_used is None
    assert [c.name for c in meta.columns] == ["average_rating", "title"]
    good = report_on(write(tmp_path / "b.json", RECORDS))
    assert next_command([meta], ["a.json"], []) is None
    command = next_command([meta, good], ["."], [])
    assert command == "python -m jobs.prepare . --skip-unknown --output data"


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda f: f.write_bytes(b""), "empty file; nothing to read"),
        (lambda f: f.write_bytes(b"PAR1 and then nothing"), "damaged Parquet file"),
        (lambda f: f.mkdir(), "cannot be read"),
    ],
)
def test_an_unreadable_file_is_one_line(tmp_path: Path, make: Callable[[Path], Any], error: str) -> None:
    make(tmp_path / "a.json")
    report = report_on(tmp_path / "a.json")
    (line,) = render(report, 128)
    assert line.startswith(f"{tmp_path}/a.json: ")
    assert error in line


def test_a_truncated_file_is_read_up_to_the_damage(tmp_path: Path) -> None:
    file = write(tmp_path / "a.json.gz", RECORDS)
    file.write_bytes(file.read_bytes()[:-9])
    report = report_on(file)
    (warning,) = report.warnings
    assert "gzip data end in the middle of a stream" in warning


def test_sampling_stops_at_the_deadline(tmp_path: Path) -> None:
    records = ({"overall": 5, "reviewText": f"lamp {n} works"} for n in range(60_000))
    report = report_on(write(tmp_path / "a.json.gz", records), max_bytes=1 << 30, seconds=0)
    assert 0 < report.sampled_rows < 60_000
    assert report.rows is not None
    assert report.rows.low < 60_000 < report.rows.high


def test_scripts() -> None:
    texts = ["Good", "Хорошо", "好的", "とても良い", "좋아요", "جيد", "👍", "5/5", "Café", "ﾃｽﾄ"]
    shares = script_shares(texts)
    assert shares == {
        **{"Latin": 0.2, "Cyrillic": 0.1, "Han": 0.1, "Japanese": 0.2},
        **{"Hangul": 0.1, "Arabic": 0.1, "none": 0.2},
    }
    assert script_shares([]) == {}


def test_the_report_shows_every_fact(tmp_path: Path, tiny_model: Path) -> None:
    file = write(tmp_path / "a.json", [*RECORDS, {"overall": 3, "reviewText": ""}])
    config = Config()
    lines = render(report_on(file, tokenizer=tokenizer_json(tiny_model)), config.tokenize.max_length)
    names = [line.split()[0] for line in lines[1:] if not line.startswith("   ")]
    shown = ["format", "read", "columns", "rows", "stars", "tokens", "repeated", "scripts", "rejected"]
    assert names == [*shown, "line", "line", "line"]


def test_a_rating_scale_is_proposed(tmp_path: Path) -> None:
    for high, sets in ((10, {"labels.scale": "1-10"}), (2, {"labels.scale": "1-2"}), (5, {})):
        records = [{"reviewText": f"lamp {n} works", "overall": n % high + 1} for n in range(2 * ROWS)]
        report = report_on(write(tmp_path / "a.json", records))
        assert report.settings == sets
        assert (report.error is not None) == (high == 10)
        assert report.facts.rows == 2 * ROWS
        again = report_on(tmp_path / "a.json", *(f"{name}={value}" for name, value in sets.items()))
        assert (again.error, again.settings, again.facts.stars) == (None, {}, report.facts.stars)


def test_labels_that_are_words_are_proposed(tmp_path: Path) -> None:
    records = [{"body": f"lamp number {n} works", "sentiment": ("neg", "pos")[n % 2]} for n in range(ROWS)]
    report = report_on(write(tmp_path / "a.json", records))
    assert report.settings == {
        **{"input.text": "body", "input.stars": "sentiment"},
        **{"labels.scheme": "words", "labels.words": "neg,pos"},
    }
    assert report.facts.stars == {"neg": ROWS // 2, "pos": ROWS // 2}


def test_texts_that_are_missing_on_purpose(tmp_path: Path) -> None:
    records = [r | {"reviewText": None} if n % 3 == 0 else r for n, r in enumerate(RECORDS)]
    report = report_on(write(tmp_path / "a.json", records))
    assert report.settings == {"input.null_text": "skip"}
    assert report.facts.rejected == {"missing_text": 14}


def test_words_that_mean_no_text_are_proposed(tmp_path: Path) -> None:
    words = ["nan", "N/A"]
    records = [r | {"reviewText": words[n % 2]} if n % 3 == 0 else r for n, r in enumerate(RECORDS)]
    report = report_on(write(tmp_path / "a.json", records))
    assert report.settings == {"input.null_values": "N/A,nan", "input.null_text": "skip"}
    assert report.facts.rejected == {"missing_text": 14}


def test_a_field_of_an_object_is_proposed_as_text(tmp_path: Path) -> None:
    records = [{"review": {"text": f"lamp number {n} works"}, "stars": n % 5 + 1} for n in range(ROWS)]
    report = report_on(write(tmp_path / "a.json", records))
    assert report.error is not None
    assert report.error.startswith("unknown review format; fields: stars, review.text")
    assert report.settings == {"input.text": "review.text", "input.stars": "stars"}


def test_a_file_that_cannot_be_sampled_is_refused(tmp_path: Path) -> None:
    rows = "".join(f"lamp {n} works,{n % 5 + 1}\n" for n in range(ROWS))
    (tmp_path / "a.csv").write_text(f"text,stars\n{rows}stars,text\n1,fine\n")
    report = report_on(tmp_path / "a.csv")
    lines = render(report, Config().tokenize.max_length)
    assert f"record {ROWS + 1} is a header with the columns in another order: stars, text" in lines[2]
    assert [line.split()[0] for line in lines[1:3]] == ["format", "refused"]


def test_answers_and_scores_of_a_search_are_not_proposed(tmp_path: Path) -> None:
    records = [
        {
            "response": {"text": f"Dear customer {n}, thank you for your kind words"},
            "_score": n % 4 / 2 + 1,
            "_source": {"snippet": f"lamp {n} works", "stars": n % 5 + 1},
        }
        for n in range(ROWS)
    ]
    report = report_on(write(tmp_path / "a.json", records))
    assert report.settings == {"input.text": "_source.snippet", "input.stars": "_source.stars"}


def test_columns_of_unknown_parquet_are_proposed(tmp_path: Path) -> None:
    columns = {
        "comment": [f"lamp number {n} works" for n in range(ROWS)],
        "label": [n % 5 for n in range(ROWS)],
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    report = report_on(tmp_path / "a.parquet")
    assert report.settings == {"input.text": "comment", "input.stars": "label", "labels.scale": "0-4"}
    assert [c.examples for c in report.columns] == [
        [f"lamp number {n} works" for n in range(3)],
        ["0", "1", "2"],
    ]


def test_true_and_false_are_proposed_as_stars(tmp_path: Path) -> None:
    records = [{"body": f"lamp number {n} works", "voted_up": n % 3 > 0} for n in range(ROWS)]
    report = report_on(write(tmp_path / "a.json", records))
    assert report.settings == {"input.text": "body", "input.stars": "voted_up", "labels.scale": "0-1"}
    assert report.facts.stars == {"1": 14, "5": 26}


def test_the_number_of_a_row_is_not_proposed_as_stars(tmp_path: Path) -> None:
    rows = "".join(f"{n + 1}\t{n % 5 + 1}\tlamp {n} works\n" for n in range(ROWS))
    (tmp_path / "a.tsv").write_text(rows)
    report = report_on(tmp_path / "a.tsv")
    assert report.settings["input.columns"] == "column_1,stars,text"
    assert report.facts.stars == {str(stars): 8 for stars in range(1, 6)}


def test_values_that_mean_not_rated_are_proposed(tmp_path: Path) -> None:
    records = [r | {"overall": "N/A"} if n % 3 == 0 else r for n, r in enumerate(RECORDS)]
    report = report_on(write(tmp_path / "a.json", records))
    assert report.settings == {"labels.unrated": "N/A"}
    assert report.facts.rejected == {"not_rated": 14}


@pytest.mark.parametrize(
    "name", ["What did you like, and why?", "[review] text", 'the "text"', "a\\b", "x.y=1"]
)
@pytest.mark.parametrize("suffix", ["json", "csv", "parquet"])
def test_any_name_of_a_column_can_be_proposed(name: str, suffix: str, tmp_path: Path) -> None:
    records = [{name: f"lamp number {n} works", f"{name} (stars)": n % 5 + 1} for n in range(ROWS)]
    file = tmp_path / f"a.{suffix}"
    if suffix == "json":
        write(file, records)
    elif suffix == "csv":
        with file.open("w", newline="") as out:
            writer = csv.DictWriter(out, list(records[0]))
            writer.writeheader()
            writer.writerows(records)
    else:
        pq.write_table(pa.Table.from_pylist(records), file)
    report = report_on(file)
    assert (report.facts.rows, report.facts.rejected) == (ROWS, {})
    again = report_on(file, *(f"{name}={value}" for name, value in report.settings.items()))
    assert (again.error, again.facts.stars) == (None, {str(stars): 8 for stars in range(1, 6)})


def test_other_columns_that_could_be_meant_are_named(tmp_path: Path) -> None:
    records = [
        {
            **{"liked": f"lamp number {n} works", "disliked": f"cable {n} is too short"},
            **{"food_rating": n % 5 + 1, "room_rating": n * n % 5 + 1},
        }
        for n in range(ROWS)
    ]
    report = report_on(write(tmp_path / "a.json", records))
    assert report.settings == {"input.text": "disliked", "input.stars": "food_rating"}
    assert report.warnings == [
        "liked could hold texts, too; to join the columns, set input.text=disliked,liked",
        "stars = food_rating is a guess: room_rating could hold the stars, too",
    ]


def test_texts_without_spaces_are_proposed(tmp_path: Path) -> None:
    records = [
        {"note": "质量很好推荐购买" + "很好" * n, "seller": "big shop", "score": n % 5 + 1}
        for n in range(ROWS)
    ]
    report = report_on(write(tmp_path / "a.json", records))
    assert report.settings == {"input.text": "note", "input.stars": "score"}


@pytest.mark.parametrize(
    "header", ["0,1", "How would you rate us,What did you like about it in the last week"]
)
def test_headers_of_numbers_and_of_sentences_are_headers(header: str, tmp_path: Path) -> None:
    rows = "".join(f"{n % 5 + 1},lamp {n} works\n" for n in range(ROWS))
    (tmp_path / "a.csv").write_text(f"{header}\n{rows}")
    report = report_on(tmp_path / "a.csv")
    assert "input.columns" not in report.settings
    assert report.settings["input.text"] == header.split(",")[1]


def test_more_rejects_than_allowed_are_a_warning(tmp_path: Path) -> None:
    rows = "".join(f"lamp {n}, it works,{n % 5 + 1}\n" if n % 4 else f"lamp {n},5\n" for n in range(ROWS))
    (tmp_path / "a.csv").write_text(f"text,stars\n{rows}")
    report = report_on(tmp_path / "a.csv", "input.text=text", "input.stars=stars")
    assert report.facts.rejected["bad_csv"] == 30
    warning = "75% of the records of the sample are rejected as bad_csv, more than"
    assert f"{warning} input.max_rejected_frac=0.05 allows" in report.warnings
