"""Files that are not dumps are refused by what they are, plain or compressed; dumps never are."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import sqlite3
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.orc as orc
import pytest

from pipeline.config import InputConfig
from pipeline.errors import InputError
from pipeline.ingest.detect.kinds.texts import text_kind
from pipeline.ingest.detect.sources import detect_sources
from pipeline.storage.location import locate
from tests.detection import detect_format

CSV = b"overall,reviewText\n" + b"5,plain and good\n" * 20
TABLE = pa.table({"overall": [5.0] * 9, "reviewText": ["good"] * 9})


def refusal(folder: Path, data: bytes) -> str:
    (folder / "a.csv").write_bytes(data)
    with pytest.raises(InputError) as raised:
        detect_sources([locate(folder / "a.csv")], InputConfig())
    message = str(raised.value)
    assert message.isprintable()
    assert message.startswith(f"{folder}/a.csv: ")
    return message.removeprefix(f"{folder}/a.csv: ")


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


def tar(kind: int = tarfile.PAX_FORMAT, name: str = "train.csv") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(CSV)
        archive.addfile(entry, io.BytesIO(CSV))
    return out.getvalue()


def old_tar() -> bytes:
    """As tar of Unix version 7 writes it: without the magic of POSIX."""
    data = bytearray(tar(tarfile.USTAR_FORMAT))
    data[257:512] = bytes(255)
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    return bytes(data)


def zipped(*names: str, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name in names:
            content = "application/vnd.oasis.opendocument.spreadsheet" if name == "mimetype" else CSV
            archive.writestr(name, content)
    return out.getvalue()


def written(write: Callable[[io.BytesIO], object]) -> bytes:
    out = io.BytesIO()
    write(out)
    return out.getvalue()


def arrow_stream(out: io.BytesIO) -> None:
    with pa.ipc.new_stream(out, TABLE.schema) as writer:
        writer.write_table(TABLE)


def sqlite(folder: Path) -> bytes:
    connection = sqlite3.connect(folder / "a.db")
    connection.execute("CREATE TABLE reviews (stars, text)")
    connection.commit()
    connection.close()
    return (folder / "a.db").read_bytes()


BINARY = {
    "tar": (tar(), "a tar archive, starting with train.csv"),
    "ustar": (tar(tarfile.USTAR_FORMAT), "a tar archive, starting with train.csv"),
    "gnu tar": (tar(tarfile.GNU_FORMAT), "a tar archive, starting with train.csv"),
    "old tar": (old_tar(), "a tar archive, starting with train.csv"),
    "tar with a long name": (tar(name="é" * 150 + ".csv"), "a tar archive"),
    "truncated tar": (tar()[:700], "a tar archive"),
    "zip": (zipped("reviews.csv"), "a zip archive, starting with reviews.csv; extract it"),
    "empty zip": (zipped(), "a zip archive, empty"),
    "xlsx": (zipped("[Content_Types].xml", "_rels/.rels", "xl/workbook.xml"), "an Excel workbook"),
    "xlsx, other order": (zipped("docProps/app.xml", "xl/workbook.xml"), "an Excel workbook"),
    "docx": (zipped("[Content_Types].xml", "word/document.xml"), "a Word document"),
    "pptx": (zipped("[Content_Types].xml", "ppt/presentation.xml"), "a PowerPoint file"),
    "Office": (zipped("[Content_Types].xml", "_rels/.rels"), "an Office file"),
    "ods": (zipped("mimetype", "content.xml", method=zipfile.ZIP_STORED), "an OpenDocument spreadsheet"),
    "npz": (written(lambda out: np.savez(out, a=np.zeros(3))), "NumPy arrays"),
    "xz": (lzma.compress(CSV), "xz-compressed; decompress it"),
    "lzma": (lzma.compress(CSV, lzma.FORMAT_ALONE), "lzma-compressed; decompress it"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4" + bytes(30), "a 7z archive; extract it"),
    "rar": (b"Rar!\x1a\x07\x01\0" + bytes(30), "a RAR archive; extract it"),
    "lz4": (bytes(pa.compress(CSV, codec="lz4", asbytes=True)), "lz4-compressed; decompress it"),
    "snappy": (b"\xff\x06\0\0sNaPpY\x01", "snappy-compressed; decompress it"),
    "deflate": (zlib.compress(CSV), "zlib-compressed"),
    "deflate, short": (zlib.compress(b"a,b"), "zlib-compressed"),
    "npy": (written(lambda out: np.save(out, np.zeros(3))), "a NumPy array"),
    "pickle": (pickle.dumps([{"text": "a"}], 4), "a Python pickle"),
    "pickle 0": (pickle.dumps([{"text": "a"}], 0), "a Python pickle"),
    "pickled frame": (pickle.dumps(TABLE.to_pandas()), "a Python pickle"),
    "feather": (written(lambda out: feather.write_feather(TABLE, out)), "an Arrow IPC (Feather) file"),
    "feather 1": (written(lambda out: feather.write_feather(TABLE, out, version=1)), "a Feather file"),
    "arrow stream": (written(arrow_stream), "an Arrow IPC stream"),
    "orc": (written(lambda out: orc.write_table(TABLE, out)), "an ORC file"),
    "avro": (b"Obj\x01\x04\x14avro.codec\x08null", "an Avro file"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(40), "an HDF5 file"),
    "stata": (written(lambda out: pd.DataFrame({"a": [1]}).to_stata(out)), "a Stata file"),
    "stata 118": (written(lambda out: pd.DataFrame({"a": [1]}).to_stata(out, version=118)), "a Stata file"),
    "sas": (bytes(12) + bytes.fromhex("c2ea8160b31411cfbd92080009c7318c181f1011"), "a SAS file"),
    "spss": (b"$FL2@(#) SPSS DATA FILE", "an SPSS file"),
    "rds": (b"X\n\0\0\0\x03\0\x04\x01\0", "an R data file"),
    "rdata": (b"RDX3\nX\n\0\0\0\x03", "an R data file"),
    "bson": ((64).to_bytes(4, "little") + b"\x07_id\0" + bytes(55), "a MongoDB dump (BSON)"),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "an old Excel workbook"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "a PDF file"),
    "png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG image, not text"),
    "jpeg": (b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG image, not text"),
    "zeros": (bytes(5000), "starts with 5,000 NUL bytes, as an unfinished download does"),
}

PAGE = b"<!DOCTYPE html>\n<html><head><title>\n Sign\n in </title></head><body>1,2\n3,4</body></html>\n"
TEXTS = {
    "html": (PAGE, "an HTML page titled 'Sign in'"),
    "html after white space": (b"\xef\xbb\xbf\n\n <!-- saved -->\n<HTML><body>x", "an HTML page, perhaps"),
    "xhtml": (b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "x">\n<html>', "an HTML page"),
    "s3 error": (
        b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code>'
        b"<Message>Access Denied</Message></Error>",
        "an error response of the storage (AccessDenied: Access Denied)",
    ),
    "xml": (b'<?xml version="1.0"?>\n<reviews>\n<r stars="5">x</r>\n</reviews>\n', "an XML document"),
    "excel xml": (
        b'<?xml version="1.0"?>\n<?mso-application progid="Excel.Sheet"?>\n<Workbook>',
        "an Excel workbook in XML",
    ),
    "lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"ab" * 32 + b"\nsize 123456789\n",
        "a Git LFS pointer to a file of 123,456,789 bytes, not the file itself; run git lfs pull",
    ),
    "annex": (b"/annex/objects/SHA256E-s31390--f50d7ac4.csv\n", "a git-annex pointer"),
    "annex link": (
        b"../.git/annex/objects/xW/3/S-s3--f5.csv/S-s3--f5.csv",
        "a git-annex pointer",
    ),
    "dvc": (b"outs:\n- md5: " + b"0a" * 16 + b"\n  size: 5\n  path: a.csv\n", "a DVC pointer"),
    "404": (b"404: Not Found", "an error message instead of data ('404: Not Found')"),
    "entry": (b"Entry not found\n", "an error message instead of data"),
    "curl": (b"curl: (6) Could not resolve host: example.com\n", "an error message instead of data"),
    "api": (
        b'{"error": {"code": 429, "message": "Too many calls"}}',
        "an error response of a web service ('Too many calls'); download the file again",
    ),
    "github": (
        b'{\n "message": "Not Found", "documentation_url": "https://a", "status": "404"\n}\n',
        "an error response of a web service ('Not Found')",
    ),
    "django": (b'{"detail": "Invalid token."}', "an error response of a web service ('Invalid token.')"),
    "unnamed": (b'{"success": false, "errors": [7]}', "an error response of a web service ('[7]')"),
    "html table": (b"<style>td {}</style>\n<table><tr><td>text</td></tr></table>", "an HTML table, perhaps"),
    "notebook": (b'{\n "cells": [\n  {\n   "cell_type": "markdown"}]}', "a Jupyter notebook"),
    "mysql": (
        b"-- MySQL dump 10.13\n--\nINSERT INTO `r` VALUES (1);\n",
        "an SQL dump",
    ),
    "js": (b'window.YTD.reviews.part0 = [ {\n  "stars" : 5', "JavaScript that contains JSON"),
    "jsonp": (b'callback({"reviews": [{"stars": 5}]});', "JavaScript that contains JSON"),
    "sql": (b"-- reviews\nDROP TABLE IF EXISTS r;\nCREATE TABLE r (a int);\n", "SQL statements"),
    "rtf": (b"{\\rtf1\\ansi hello}", "an RTF document"),
    "script": (b"#!/bin/sh\nwget a,b\n", "a script"),
}
PACKS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "plain": (bytes, ""),
    "gzip": (gzip.compress, "compressed with gzip"),
    "bzip2": (bz2.compress, "compressed with bzip2"),
    "zstd": (zstd, "compressed with zstd"),
}


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("name", [*BINARY, *TEXTS])
def test_other_files_are_named_for_what_they_are(name: str, pack: str, tmp_path: Path) -> None:
    data, kind = (BINARY | TEXTS)[name]
    compress, note = PACKS[pack]
    message = refusal(tmp_path, compress(data))
    assert message.startswith(kind.partition(";")[0])
    if name != "zeros":
        assert note in message


def test_database_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path, sqlite(tmp_path)).startswith("a SQLite database; export its rows as CSV")


@pytest.mark.parametrize("inner", ["gzip", "bzip2", "zstd"])
@pytest.mark.parametrize("outer", ["gzip", "bzip2", "zstd"])
def test_double_compression_is_named(inner: str, outer: str, tmp_path: Path) -> None:
    data = PACKS[outer][0](PACKS[inner][0](CSV))
    said = f"compressed twice ({inner} data within {outer} data); decompress it once"
    assert refusal(tmp_path, data) == said


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file; nothing to read"),
        (gzip.compress(b""), "empty: gzip data of 0 bytes; nothing to read"),
        (bz2.compress(b""), "empty: bzip2 data of 0 bytes; nothing to read"),
        (b"\xef\xbb\xbf", "only a byte order mark; nothing to read"),
        (b"\n\n \n", "only blank lines; nothing to read"),
        (gzip.compress(CSV)[:10], "gzip data end in the middle of a stream, at byte 10; nothing to read"),
    ],
    ids=["empty", "gzip", "bzip2", "mark", "blank", "truncated"],
)
def test_files_without_text_say_why(data: bytes, reason: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, data) == reason


def test_empty_files_among_others_are_read_and_other_files_are_refused_by_name(tmp_path: Path) -> None:
    for name, data in {
        "a.csv.gz": gzip.compress(b""),
        "b.csv": CSV,
        "c.csv": b"",
        "d.csv": b"\xef\xbb\xbf",
    }.items():
        (tmp_path / name).write_bytes(data)
    files = [locate(f) for f in sorted(tmp_path.iterdir())]
    assert len(detect_sources(files, InputConfig())) == 4
    (tmp_path / "e.csv").write_bytes(TEXTS["lfs"][0])
    with pytest.raises(InputError, match=r"/e\.csv: a Git LFS pointer"):
        detect_sources([*files, locate(tmp_path / "e.csv")], InputConfig())


@pytest.mark.parametrize(
    "header",
    ["ORC", "LZIP", "PARENT", "RDX", "X", "A", "x^a", "OBJ", "PK", "<b>title</b>", "ID3", "MZ", "%PD"],
)
def test_dumps_that_start_like_other_files_are_read(header: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(f"{header},overall,reviewText\n".encode() + b"1,5,fine\n" * 9)
    fmt = detect_format(locate(tmp_path / "a.csv"), InputConfig())
    assert fmt is not None
    assert fmt.dialect.columns == (header, "overall", "reviewText")


@pytest.mark.parametrize(
    "text", ["404: Not Found", "<html> tags do not work", "curl: (6) again", "-- MySQL dump is bad"]
)
def test_reviews_about_errors_and_pages_are_read(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"reviewText,overall\n" + f"{text},5\n".encode() * 9)
    assert detect_format(locate(tmp_path / "a.csv"), InputConfig()) is not None


@pytest.mark.parametrize(
    "record",
    [
        {"message": "It works", "status": "5"},
        {"text": "It works", "error": None},
        {"reviewText": "Not found", "overall": 1, "code": 404},
    ],
)
def test_one_review_is_no_error_response(record: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(record))
    config = InputConfig(text=tuple(record)[:1])
    assert detect_format(locate(tmp_path / "a.json"), config, need_stars=False) is not None


@pytest.mark.parametrize("start", [b"<!-- a --> ", b"<?b?>", b"/* c */ "])
def test_many_comments_at_the_start_take_no_longer(start: bytes, tmp_path: Path) -> None:
    """If a comment could also end with the next one, the time would double with each."""
    assert text_kind(start * 500 + b"text,stars\nworks,5\n", complete=True) is None
    end = b"CREATE TABLE t" if start.startswith(b"/") else b"<html>"
    (tmp_path / "a").write_bytes(start * 500 + end)
    with pytest.raises(InputError, match=r"an HTML page|SQL statements"):
        detect_format(locate(tmp_path / "a"), InputConfig())
