"""Fuzzing of text dumps: no crash, and every line is a row or a reject with its offset.

A run reads 525 damaged files in five formats and seven syntaxes, 400 damaged excerpts of real files (if
present), and a small file in each compression truncated at every byte. `make test-slow` adds 105,000 and
40,000.
"""

from __future__ import annotations

import bz2
import contextlib
import csv
import gzip
import io
import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.config import InputConfig
from pipeline.errors import InputError
from pipeline.ingest.clean.labels import label_scheme
from pipeline.ingest.clean.rows import Kept, Recipe, keep_lines
from pipeline.ingest.clean.text import clean
from pipeline.ingest.parse.formats import Format
from pipeline.ingest.parse.parse import RecordLocator
from pipeline.ingest.parse.rejects import Reason, reject_table
from pipeline.ingest.read.chunks import read_chunks
from pipeline.ingest.read.compression import BrokenStreamError, decompress
from pipeline.ingest.read.limits import ReadLimits
from pipeline.ingest.read.transcode import OriginalBytes
from pipeline.storage.location import locate
from tests.detection import detect_format
from tests.ingest.detect.test_detect import KNOWN

CASES = [50, pytest.param(15_000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
REAL_CASES = [100, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
RECIPE = Recipe(
    " ",
    32,
    verified_only=False,
    scheme=label_scheme("stars"),
    unescape_html=True,
    limits=ReadLimits(max_line_bytes=1 << 14),
)
REAL_FILES = (
    "AMAZON_FASHION_first15000.json.gz",
    "AMAZON_FASHION_5.json.gz",
    "Magazine_Subscriptions_5.json",
    "reviews_Digital_Music_5.TRUNCATED.json.gz",
)


def as_csv(records: list[dict[str, object]], delimiter: str) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(records[0])
    writer.writerows([str(v) for v in record.values()] for record in records)
    return out.getvalue().encode()


SYNTAXES: dict[str, Callable[[list[dict[str, object]]], bytes]] = {
    "json": lambda records: b"".join(json.dumps(r).encode() + b"\n" for r in records),
    "python": lambda records: b"".join(repr(r).encode() + b"\n" for r in records),
    "csv": lambda records: as_csv(records, ","),
    "tsv": lambda records: as_csv(records, "\t"),
    "array": lambda records: b"[" + b",\n".join(json.dumps(r).encode() for r in records) + b"]\n",
    "list": lambda records: json.dumps({"reviews": records, "next": None}, indent=1).encode(),
    "objects": lambda records: b"".join(json.dumps(r).encode() for r in records),
}
TEXTS = (
    "Good",
    'say "so", twice',
    "two\nlines",
    "tab\there",
    "é ☃ 🙂",
    "",
    "a &amp; b<br />",
    "'",
    "\\",
    " x ",
)


def flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def newlines(data: bytearray) -> list[int]:
    return [match.start() for match in re.finditer(rb"\n", data)]


def join_lines(data: bytearray, rng: random.Random) -> None:
    ends = newlines(data)
    if ends:
        del data[rng.choice(ends)]


def insert(*values: bytes) -> Callable[[bytearray, random.Random], None]:
    def mutate(data: bytearray, rng: random.Random) -> None:
        at = rng.randrange(len(data) + 1)
        data[at:at] = rng.choice(values)

    return mutate


def insert_line(*values: bytes) -> Callable[[bytearray, random.Random], None]:
    def mutate(data: bytearray, rng: random.Random) -> None:
        starts = [0, *(i + 1 for i in newlines(data))]
        at = rng.choice(starts)
        data[at:at] = rng.choice(values) + b"\n"

    return mutate


def truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


MUTATIONS: list[Callable[[bytearray, random.Random], None]] = [
    flip,
    flip,
    join_lines,
    truncate,
    insert(b"\x00", b"\x00" * 50),
    insert(b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"),
    insert(b"\xef\xbb\xbf", b"\r", b"\r\n", b"\n", b"\n\n", b"\x0b", b"\xc2\x85", b"\xe2\x80\xa8"),
    insert(b'"', b"'", b'""', b"{", b"}", b"\\", b"\\u12", b"\\ud800", b",", b"\t", b":"),
    insert(b"NaN", b"1e999", b"-Infinity", b"9" * 5000, b"null", b"true", b"[[[["),
    insert(b"x" * 18_000, b'"' * 9, b"&#xD800;"),
    insert_line(b"[" * 100_000, b'{"a":' * 20_000, b"(" * 400, b"-" * 9000, b"not 1" * 300),
    insert_line(
        b'{"overall": 5, "overall": "x", "reviewText": "a", "reviewText": "b"}', b"{}", b"[]", b"", b"   "
    ),
    insert_line(
        b'{"overall": NaN, "reviewText": "x"}', b'{"overall": ' + b"1" * 400 + b', "reviewText": "x"}'
    ),
    insert_line(b"y" * 50_000, b'{"reviewText": "' + b"z" * 50_000 + b'"}'),
]


def damaged(text: bytes, rng: random.Random) -> bytes:
    data = bytearray(text)
    for _ in range(rng.randint(1, 6)):
        if data:
            rng.choice(MUTATIONS)(data, rng)
    return bytes(data)


def check(file: Path, chunk_bytes: int, fmt: Format | None = None) -> int:
    """Read a file as a job does; return its number of records.

    Checks that chunks are contiguous, that every record is a row or is rejected for a known reason, and that
    the bytes of a rejected record are those at its offset in the file.
    """
    location = locate(file)
    if fmt is None:
        fmt = detect_format(location, InputConfig(), need_stars=False)
    if fmt is None:
        return 0
    whole = b"".join(all_pieces(location.read_bytes()))
    number, line_number, offset = 0, 1, fmt.dialect.start_bytes
    is_offset_known = True
    for chunk in read_chunks(location, 0, fmt.dialect.cutting(chunk_bytes, RECIPE.limits)):
        header = chunk.header
        offset = offset if is_offset_known else chunk.byte_offset
        assert (header.chunk, header.first_line, chunk.byte_offset) == (number, line_number, offset)
        encoding = fmt.dialect.encoding
        if encoding:
            # Guessed from the damaged bytes.
            original = OriginalBytes(chunk.raw, encoding, chunk.variants).span(0, len(chunk.raw))[1]
        else:
            original = chunk.raw
        assert whole.startswith(original, offset)
        kept = keep_lines(chunk, fmt, RECIPE)
        numbers = sorted([*kept.rows["line"].to_pylist(), *(r.line for r in kept.rejected)])
        assert numbers == list(range(header.first_line, header.next_line))
        assert all(label >= 0 for label in kept.rows["label"].to_pylist())
        assert all(kept.rows["text"].to_pylist())
        reasons = {reason.value for reason in Reason}
        table = reject_table(chunk.header.source, chunk.byte_offset, kept.rejected)
        for position, raw, reason in zip(
            *(table[n].to_pylist() for n in ("byte_offset", "raw", "reason")), strict=True
        ):
            assert reason in reasons
            assert whole.startswith(raw, position)
        locator = RecordLocator(chunk, fmt, RECIPE.parse_options())
        for line in kept.rows["line"].to_pylist():
            position, raw = locator.locate(line)
            assert whole.startswith(raw, offset + position)
        if fmt.dialect.syntax in ("json", "elements") and not encoding:
            check_rows(kept, locator, fmt)
        number, line_number = number + 1, header.next_line
        offset += len(original) + chunk.skipped_bytes
        # Skipped bytes count in UTF-8.
        is_offset_known = not (encoding and chunk.skipped_bytes)
    assert chunk.header.last
    assert offset == len(whole) or not is_offset_known
    return line_number - 1


def check_rows(kept: Kept, locator: RecordLocator, fmt: Format) -> None:
    """Compare rows of printable text with the standard library's parse of their lines."""
    for row in kept.rows.to_pylist():
        # As float: Python refuses to parse an integer of thousands of digits.
        line = locator.locate(row["line"])[1].decode(errors="replace")
        record = json.loads(line, parse_int=float, parse_constant=lambda _: None)
        texts = [record[f] for f in fmt.text if record.get(f) is not None]
        if not all(isinstance(t, str) and t.isprintable() for t in texts):
            continue
        assert row["text"] == clean(pa.array([" ".join(texts)]), unescape_html=True)[0].as_py()
        if isinstance(record[fmt.stars], float | int):
            assert row["stars"] == record[fmt.stars]


def all_pieces(stored: bytes) -> list[bytes]:
    pieces = []
    with contextlib.suppress(BrokenStreamError):
        for piece in decompress(io.BytesIO(stored)):
            pieces.append(piece)
    return pieces


@pytest.mark.parametrize("cases", CASES)
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_line_of_a_damaged_dump_is_accounted_for(syntax: str, cases: int, tmp_path: Path) -> None:
    rng = random.Random(f"fuzz {syntax} {cases}")
    formats = {}
    read, refused = 0, []
    for case in range(cases):
        name = rng.choice(sorted(KNOWN))
        example = KNOWN[name]
        text = next(k for k in ("reviewText", "review_body", "text") if k in example)
        records = [{**example, text: rng.choice(TEXTS)} for _ in range(rng.randint(1, 12))]
        whole = SYNTAXES[syntax](records)
        (tmp_path / "a").write_bytes(whole)
        formats[name] = detect_format(locate(tmp_path / "a"), InputConfig()) or formats[name]
        (tmp_path / "a").write_bytes(
            gzip.compress(damaged(whole, rng), 0) if case % 2 else damaged(whole, rng)
        )
        chunk_bytes = rng.choice([1 << 10, 1 << 13, 1 << 20])
        try:
            check(tmp_path / "a", chunk_bytes)
            read += 1
        except InputError as error:
            # Detection fails if the first lines are too damaged; with a given format the file is still read.
            refused.append(str(error))
            start = replace(formats[name].dialect, start_bytes=0)
            check(tmp_path / "a", chunk_bytes, replace(formats[name], dialect=start))
    assert read > cases // 2
    assert not [message for message in refused if not message.isprintable() or len(message) > 1000]


@pytest.mark.parametrize("cases", REAL_CASES)
@pytest.mark.parametrize("name", REAL_FILES)
def test_every_line_of_a_damaged_real_file_is_accounted_for(
    name: str, cases: int, shared_data: Path, tmp_path: Path
) -> None:
    rng = random.Random(f"{name} {cases}")
    text = b"".join(all_pieces((shared_data / name).read_bytes()))
    lines = text.splitlines(keepends=True)
    (tmp_path / "whole").write_bytes(b"".join(lines[:50]))
    fmt = detect_format(locate(tmp_path / "whole"), InputConfig())
    for _ in range(cases):
        first = rng.randrange(len(lines) - 20)
        (tmp_path / "a").write_bytes(damaged(b"".join(lines[first : first + 20]), rng))
        check(tmp_path / "a", rng.choice([1 << 10, 1 << 13, 1 << 20]), fmt)


@pytest.mark.parametrize(
    "pack", [gzip.compress, bz2.compress, lambda d: pa.compress(d, "zstd", asbytes=True)]
)
def test_file_truncated_at_any_byte_is_read_up_to_the_cut(
    pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    rng = random.Random(0)
    records = [KNOWN["amazon_2018"] | {"reviewText": str(rng.getrandbits(200))} for _ in range(6)]
    text = SYNTAXES["json"](records)
    (tmp_path / "a").write_bytes(text)
    fmt = detect_format(locate(tmp_path / "a"), InputConfig())
    whole = pack(text)
    max_lines = 0
    for size in range(6, len(whole) + 1):
        (tmp_path / "a").write_bytes(whole[:size])
        num_lines = check(tmp_path / "a", 1 << 10, fmt)
        # The last line may be partial, and the partial line may be rejected later.
        assert num_lines >= max_lines - 1
        max_lines = max(max_lines, num_lines)
    assert max_lines == 6
