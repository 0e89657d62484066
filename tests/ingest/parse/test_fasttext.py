"""fastText lines: one label and a text; other lines are rejected with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import InputConfig, LabelsConfig
from pipeline.errors import InputError
from pipeline.ingest.parse.formats import Format
from pipeline.storage.location import locate
from tests.detection import detect_format
from tests.ingest.detect.test_elements_sample import read


def detect(file: Path, labels: LabelsConfig | None = None) -> Format:
    fmt = detect_format(locate(file), InputConfig(), labels=labels)
    assert fmt is not None
    return fmt


def test_labels_and_texts(tmp_path: Path) -> None:
    lines = [
        "__label__2 My view: good, and so on",
        "__label__5\ttab",
        "  __label__1  é ☃ \r",
        '__label__3 "a" {b}',
    ]
    (tmp_path / "a").write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8", newline="")
    fmt = detect(tmp_path / "a")
    assert (fmt.name, str(fmt.dialect), fmt.text, fmt.stars) == ("fasttext", "fastText", ("text",), "label")
    for chunk_bytes in (7, 1 << 20):
        _, rows, rejected = read(tmp_path / "a", chunk_bytes)
        assert rejected == []
        assert [(r["line"], r["text"], r["stars"]) for r in rows] == [
            (1, "My view: good, and so on", 2.0),
            (2, "tab", 5.0),
            (3, "é ☃", 1.0),
            (4, '"a" {b}', 3.0),
        ]


def test_word_labels(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("__label__pos good\n__label__neg bad\n")
    with pytest.raises(InputError, match=r"label contains words, not star ratings: neg, pos; .*scheme=words"):
        detect(tmp_path / "a")
    detect(tmp_path / "a", LabelsConfig(scheme="words", words=("neg", "pos")))
    _, rows, _ = read(tmp_path / "a")
    assert [(r["text"], r["word"]) for r in rows] == [("good", "pos"), ("bad", "neg")]


def test_irregular_lines_are_rejected(tmp_path: Path) -> None:
    good = b"__label__2 fine"
    bad = [
        b"__label__1 __label__2 x",
        b"x __label__1",
        b"__label__",
        b"",
        b"__label__1 \xff",
        b"__label__1 x __label__2",
    ]
    (tmp_path / "a").write_bytes(b"\n".join([good] * 9 + bad + [b"__label__3", good]))
    _, rows, rejected = read(tmp_path / "a")
    assert [(r["line"], r["text"]) for r in rows][9:] == [(16, None), (17, "fine")]
    reasons = ["bad_fasttext"] * 3 + ["empty_line", "bad_encoding", "bad_fasttext"]
    offset = 9 * (len(good) + 1)
    expected = []
    for number, (line, reason) in enumerate(zip(bad, reasons, strict=True), start=10):
        expected.append((number, offset, reason, line))
        offset += len(line) + 1
    assert rejected == expected


def test_several_labels_on_most_lines_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("__label__2 __label__sport x\n" * 9 + "__label__1 y\n")
    with pytest.raises(InputError, match="fastText lines with several labels"):
        detect(tmp_path / "a")
