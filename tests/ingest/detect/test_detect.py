"""Format detection: known formats in every syntax, configured columns, and files that are refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import InputConfig, LabelsConfig
from pipeline.errors import InputError
from pipeline.ingest.detect.sources import detect_sources
from pipeline.ingest.parse.formats import FORMATS, ParseOptions
from pipeline.ingest.parse.parse import parse_chunk
from pipeline.ingest.read.chunks import read_chunks
from pipeline.storage.location import locate
from tests.detection import detect_format

DAY = "2014-07-03T00:00:00+00:00"
R2014 = {
    "reviewerID": "A1",
    "asin": "B1",
    "helpful": [2, 3],
    "reviewText": 'It\'s "fine" \\ ok',
    "overall": 4.0,
    "summary": "Fine",
    "unixReviewTime": 1404345600,
    "reviewTime": "07 3, 2014",
}
R2018 = {
    "overall": 4.0,
    "vote": "1,234",
    "verified": True,
    "reviewTime": "07 3, 2014",
    "reviewerID": "A1",
    "asin": "B1",
    "style": {"Size:": " M"},
    "reviewText": 'It\'s "fine" \\ ok',
    "summary": "Fine",
    "unixReviewTime": 1404345600,
}
R2023 = {
    "rating": 4.0,
    "title": "Fine",
    "text": 'It\'s "fine" \\ ok',
    "images": [],
    "asin": "B1",
    "parent_asin": "B0",
    "user_id": "A1",
    "timestamp": 1404345600000,
    "helpful_vote": 2,
    "verified_purchase": True,
}
GOOGLE = {
    "user_id": "A1",
    "name": "A N",
    "time": 1404345600000,
    "rating": 4,
    "text": 'It\'s "fine" \\ ok',
    "pics": None,
    "resp": None,
    "gmap_id": "B1",
}
YELP = {
    "review_id": "x",
    "user_id": "A1",
    "business_id": "B1",
    "stars": 4.0,
    "useful": 0,
    "text": 'It\'s "fine" \\ ok',
    "date": "2014-07-03 00:00:00",
}
US = {
    "marketplace": "US",
    "customer_id": "A1",
    "product_id": "B1",
    "star_rating": "4",
    "verified_purchase": "Y",
    "review_headline": "Fine",
    "review_body": 'It\'s "fine" \\ ok',
    "review_date": "2014-07-03",
}
KNOWN = {
    "amazon_2014": R2014,
    "amazon_2018": R2018,
    "amazon_2023": R2023,
    "google_local": GOOGLE,
    "yelp": YELP,
    "amazon_us_reviews": US,
}


def rows_of(file: Path, config: InputConfig | None = None) -> tuple[Any, list[dict[str, Any]], list[Any]]:
    fmt = detect_format(locate(file), config or InputConfig())
    assert fmt is not None
    (chunk,) = read_chunks(locate(file), 0, fmt.dialect.cutting(1 << 20))
    rows, rejected = parse_chunk(chunk, fmt, ParseOptions(" | "))
    return fmt, rows.to_pylist(), rejected


def check(name: str, row: dict[str, Any]) -> None:
    summary = "" if name in ("yelp", "google_local") else "Fine | "
    assert row["text"] == summary + 'It\'s "fine" \\ ok'
    assert (row["asin"], row["user_id"], row["stars"]) == ("B1", "A1", 4.0)
    assert row["timestamp"].isoformat() == DAY
    assert row["verified"] is (None if name in ("amazon_2014", "google_local", "yelp") else True)


def test_every_format_has_an_example() -> None:
    assert set(KNOWN) == {f.name for f in FORMATS}


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_json_of_each_known_format_is_detected(tmp_path: Path, name: str, start: bytes) -> None:
    (tmp_path / "a").write_bytes(start + json.dumps(KNOWN[name]).encode() + b"\n")
    fmt, (row,), rejected = rows_of(tmp_path / "a")
    assert (fmt.name, str(fmt.dialect), rejected) == (name, "JSON lines", [])
    check(name, row)


@pytest.mark.parametrize("name", KNOWN)
def test_json_with_only_strings_is_detected(tmp_path: Path, name: str) -> None:
    strings = {k: v if isinstance(v, (list, dict)) else str(v) for k, v in KNOWN[name].items()}
    (tmp_path / "a").write_text(json.dumps(strings) + "\n")
    fmt, (row,), _ = rows_of(tmp_path / "a")
    assert fmt.name == name
    check(name, row)


@pytest.mark.parametrize("name", KNOWN)
def test_python_literals_of_each_known_format_are_detected(tmp_path: Path, name: str) -> None:
    lines = [repr(KNOWN[name]), "{'reviewText': ", "", "[1]", "__import__('os').getcwd()", "{'a': 1, **{}}"]
    lines += ["(" * 500 + ")" * 500, "{'overall': '\\ud800'}", "-" * 5000 + "1", "{'a': " + "9" * 5000 + "}"]
    (tmp_path / "a").write_text("\n".join(lines) + "\n")
    fmt, rows, rejected = rows_of(tmp_path / "a")
    assert (fmt.name, str(fmt.dialect)) == (name, "Python literals")
    check(name, rows[0])
    assert [r["line"] for r in rows] == [1, 8]
    reasons = {r.line: r.reason for r in rejected}
    assert reasons.pop(3) == "empty_line"
    assert reasons.pop(4) == "not_an_object"
    assert set(reasons.values()) == {"bad_python"}
    assert set(reasons) == {2, 5, 6, 7, 9, 10}


def test_python_literals_with_any_text_are_parsed(tmp_path: Path) -> None:
    texts = ["tab\tand\nline", "it's", 'say "x"', "both ' and \"", "back\\slash \\d", "é ☃ 🙂", "\x00\x1b"]
    (tmp_path / "a").write_text("".join(repr(R2014 | {"reviewText": t}) + "\n" for t in texts))
    _, rows, rejected = rows_of(tmp_path / "a")
    assert rejected == []
    assert [r["text"] for r in rows] == [f"Fine | {t}" for t in texts]


def test_each_file_of_a_mixed_input_has_its_own_format(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(R2018) + "\n")
    (tmp_path / "b.jsonl").write_text(json.dumps(R2023) + "\n")
    (tmp_path / "c.json").write_text(repr(R2014) + "\n")
    (tmp_path / "d.tsv").write_text("\t".join(US) + "\n" + "\t".join(US.values()) + "\n")
    (tmp_path / "e.json").write_text("")
    sources = detect_sources([locate(f) for f in sorted(tmp_path.iterdir())], InputConfig())
    assert [s.format_name for s in sources] == [
        "amazon_2018, JSON lines",
        "amazon_2023, JSON lines",
        "amazon_2014, Python literals",
        "amazon_us_reviews, TSV",
        "amazon_2018, JSON lines",
    ]


def test_configured_columns_and_known_field_names(tmp_path: Path) -> None:
    record = {"rev": "good", "mark": 3, "asin": "B1", "who": "A9", "date": "2014-07-03", "ok": "yes"}
    (tmp_path / "a").write_text(json.dumps(record) + "\n")
    config = InputConfig(text=("rev",), stars="mark", user_id="who", verified="ok")
    fmt, (row,), _ = rows_of(tmp_path / "a", config)
    assert fmt.name == "by columns"
    assert (row["text"], row["stars"], row["asin"], row["user_id"]) == ("good", 3.0, "B1", "A9")
    assert (row["timestamp"].isoformat(), row["verified"]) == (DAY, True)
    with pytest.raises(InputError, match=r"input\.user_id=whom, but no line has this field"):
        rows_of(tmp_path / "a", config.model_copy(update={"user_id": "whom"}))


def test_seconds_and_milliseconds_are_distinguished(tmp_path: Path) -> None:
    times = [1404345600, 1404345600000, "1404345600", "1404345600000", 1404345600.0, 0, -1, 10**17, "x", None]
    (tmp_path / "a").write_text("".join(json.dumps(R2018 | {"unixReviewTime": t}) + "\n" for t in times))
    _, rows, _ = rows_of(tmp_path / "a")
    parsed = [r["timestamp"] and r["timestamp"].isoformat() for r in rows]
    assert parsed[:5] == [DAY] * 5
    assert parsed[5:7] == ["1970-01-01T00:00:00+00:00", "1969-12-31T23:59:59+00:00"]
    assert parsed[7:] == [None, None, None]


def test_word_labels_must_occur_in_the_first_lines(tmp_path: Path) -> None:
    (tmp_path / "a").write_text('{"body": "x", "kind": "pos"}\n{"body": "y", "kind": "neg"}\n')
    config = InputConfig(text=("body",), stars="kind")
    for words in (None, ("good", "bad")):
        with pytest.raises(InputError, match=r"the labels of the first lines in kind are neg,pos; .*words="):
            detect_format(locate(tmp_path / "a"), config, labels=LabelsConfig(scheme="words", words=words))
    with pytest.raises(InputError, match=r"kind contains words, not star ratings: neg, pos; .*scheme=words"):
        detect_format(locate(tmp_path / "a"), config)
    labels = LabelsConfig(scheme="words", words=("neg", "pos"))
    assert detect_format(locate(tmp_path / "a"), config, labels=labels) is not None


def lines_of(*records: Any) -> bytes:
    return b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n" for r in records)


PYTHON_LINES = lines_of(*(repr(R2014).encode() for _ in range(20)))
CSV_LINES = b"overall,reviewText\n" + b"5,plain\n" * 20


@pytest.mark.parametrize(
    ("data", "dialect"),
    [
        (lines_of(R2014) + PYTHON_LINES, "Python literals"),
        (b"{}\n" + PYTHON_LINES, "Python literals"),
        (lines_of(*[R2018] * 3, *[json.dumps(R2018).encode()[:-2]] * 9), "JSON lines"),
        (b'overall,reviewText\n5,"a\n{}\nb"\n' + CSV_LINES[19:], "CSV"),
        (b'{"reviewText": "' + b"x" * 20_000_000 + b'"}\n' + lines_of(R2018), "JSON lines"),
        (b'"' + b"x" * 20_000_000 + b'"\n' + lines_of(R2018), "JSON lines"),
        (lines_of(R2018 | {"reviewText": "x" * 300_000}), "JSON lines"),
    ],
    ids=[
        "one JSON line in Python literals",
        "one empty object in Python literals",
        "most lines broken",
        "object in a quoted field",
        "long first line",
        "long first line, not an object",
        "only a long line",
    ],
)
def test_syntax_of_most_lines_is_detected(data: bytes, dialect: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(data)
    fmt = detect_format(locate(tmp_path / "a"), InputConfig())
    assert fmt is not None
    assert str(fmt.dialect) == dialect


def test_quotes_late_in_the_sample_are_detected(tmp_path: Path) -> None:
    plain = b"".join(b"5\tplain %d\n" % i for i in range(1000))
    (tmp_path / "a").write_bytes(b"overall\treviewText\n" + plain + b'5\t"two\nlines"\n' * 9)
    fmt = detect_format(locate(tmp_path / "a"), InputConfig())
    assert fmt is not None
    assert fmt.dialect.quoted


@pytest.mark.parametrize(
    ("data", "advice"),
    [
        (CSV_LINES.replace(b"\n", b"\r"), "carriage return only"),
        (CSV_LINES.replace(b"\n", b"\r") + b"\n", "carriage return only"),
        (lines_of(R2018, R2018).replace(b"\n", b"\r"), "carriage return only"),
        ('{"overall": 5.0, "reviewText": "é\\xe9"}\n'.encode().replace(b"\\xe9", b"\xe9"), "not valid UTF-8"),
        (CSV_LINES + bytes(len(CSV_LINES)), "NUL; neither UTF-8 nor UTF-16 text, but an unfinished download"),
        (b"[" + b",\n".join([json.dumps(R2018).encode()[:-1]] * 9) + b"]\n", "starts like a JSON array"),
        (b'"' + b"x" * 400_000 + b'"\n', "the first line, longer than"),
    ],
)
def test_unsupported_text_is_refused_with_advice(data: bytes, advice: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(InputError, match=advice):
        detect_format(locate(tmp_path / "a"), InputConfig())


def test_compressed_parquet_is_refused_with_advice(tmp_path: Path) -> None:
    pq.write_table(pa.table({"overall": [5.0], "reviewText": ["good"]}), tmp_path / "a")
    (tmp_path / "b").write_bytes(gzip.compress((tmp_path / "a").read_bytes()))
    with pytest.raises(InputError, match="a compressed Parquet file; decompress it"):
        detect_format(locate(tmp_path / "b"), InputConfig())


def test_configured_columns_apply_to_the_files_that_have_them(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_bytes(b"rank,body\n5,fine\n1,poor\n")
    (tmp_path / "amazon.json").write_bytes(lines_of(R2018))
    (tmp_path / "other.csv").write_bytes(b"points,words\n5,fine\n")
    own, amazon, other = (locate(tmp_path / n) for n in ("own.csv", "amazon.json", "other.csv"))
    config = InputConfig(text=("body",), stars="rank")
    formats = [s.fmt for s in detect_sources([own, amazon], config)]
    assert [(f.text, f.stars) for f in formats] == [
        (("body",), "rank"),
        (("summary", "reviewText"), "overall"),
    ]
    # Refused: no file has the configured column, or a file without it has an unknown format.
    with pytest.raises(InputError, match=r"input\.text=body, but no line has this field"):
        detect_sources([amazon], config)
    with pytest.raises(InputError, match=r"other\.csv: input\.text=body"):
        detect_sources([own, other], config)


@pytest.mark.parametrize(
    "line",
    ['{"text": "tab\there", "stars": 5}', '{"text": "it\\\'s", "stars": 5,}', '{"text": "x", "stars": 5,}'],
)
@pytest.mark.parametrize("place", [0, 50])
def test_a_broken_line_of_json_does_not_make_others_python(line: str, place: int, tmp_path: Path) -> None:
    """As Python, texts would keep the escapes of JSON."""
    lines = [json.dumps({"text": f"👍 number {n}", "stars": n % 5 + 1}) for n in range(100)]
    lines.insert(place, line)
    (tmp_path / "a").write_text("\n".join(lines))
    fmt = detect_format(locate(tmp_path / "a"), InputConfig())
    assert fmt is not None
    assert fmt.dialect.syntax == "json"


@pytest.mark.parametrize(
    "fields", [("title", "text", "stars"), ("summary", "reviewText", "title", "text", "rating")]
)
def test_the_format_does_not_depend_on_the_need_for_stars(fields: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "a").write_text(json.dumps(dict.fromkeys(fields, "5")) + "\n")
    found = {
        detect_format(locate(tmp_path / "a"), InputConfig(), need_stars=need_stars)
        for need_stars in (True, False)
    }
    (fmt,) = {None if f is None else (f.name, f.text, f.stars) for f in found}
    assert fmt is not None
    assert fmt[2] in fields
