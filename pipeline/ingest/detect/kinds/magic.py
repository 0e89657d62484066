"""Binary files that are not dumps, by their magic numbers."""

from __future__ import annotations

import re
import zlib

_EXPORT = "export its rows as CSV or Parquet"
_MEDIA = "not text; remove it from the input"

_READ_COLUMNAR = "convert it to Parquet with {}"

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xfd7zXZ\0", "xz-compressed; decompress it, or compress it as .gz or .zst"),
    (0, b"LZIP\x01", "lzip-compressed; decompress it, or compress it as .gz or .zst"),
    (0, b"\x89LZO\0\r\n\x1a\n", "lzop-compressed; decompress it, or compress it as .gz or .zst"),
    (0, b"\x04\x22\x4d\x18", "lz4-compressed; decompress it, or compress it as .gz or .zst"),
    (0, b"\x02\x21\x4c\x18", "lz4-compressed; decompress it, or compress it as .gz or .zst"),
    (0, b"\xff\x06\0\0sNaPpY", "snappy-compressed; decompress it, or compress it as .gz or .zst"),
    (0, b"\x1f\x9d", "compressed with compress (.Z); decompress it, or compress it as .gz or .zst"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive; extract it"),
    (0, b"Rar!\x1a\x07", "a RAR archive; extract it"),
    (0, b"MSCF\0\0\0\0", "a cabinet archive; extract it"),
    (0, b"!<arch>\n", "an ar archive; extract it"),
    (0, b"SQLite format 3\0", f"a SQLite database; {_EXPORT}, for example with sqlite3 -csv -header"),
    (4, b"Standard Jet DB\0", f"a Microsoft Access database; {_EXPORT}"),
    (4, b"Standard ACE DB\0", f"a Microsoft Access database; {_EXPORT}"),
    (0, b"PGDMP", f"a PostgreSQL dump; restore it and {_EXPORT}"),
    (4, b"\x07_id\0", "a MongoDB dump (BSON); convert it to JSON lines with bsondump"),
    (4, b"\x02_id\0", "a MongoDB dump (BSON); convert it to JSON lines with bsondump"),
    (0, b"Obj\x01", "an Avro file; " + _READ_COLUMNAR.format("fastavro and pandas")),
    (0, b"ARROW1\0\0", "an Arrow IPC (Feather) file; " + _READ_COLUMNAR.format("pyarrow.feather.read_table")),
    (0, b"\xff\xff\xff\xff", "an Arrow IPC stream; " + _READ_COLUMNAR.format("pyarrow.ipc.open_stream")),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file; " + _READ_COLUMNAR.format("pandas.read_hdf")),
    (0, b"\x93NUMPY", "a NumPy array (.npy); write its rows as CSV or Parquet"),
    (0, b"MATLAB 5.0 MAT-file", f"a MATLAB file; {_EXPORT}"),
    (0, b"<stata_dta><header>", "a Stata file (.dta); " + _READ_COLUMNAR.format("pandas.read_stata")),
    (
        0,
        bytes(12) + b"\xc2\xea\x81\x60\xb3\x14\x11\xcf\xbd\x92\x08\0",
        "a SAS file (.sas7bdat); " + _READ_COLUMNAR.format("pandas.read_sas"),
    ),
    (
        0,
        b"HEADER RECORD*******LIBRARY HEADER RECORD!!!!!!!",
        "a SAS transport file (.xpt); " + _READ_COLUMNAR.format("pandas.read_sas"),
    ),
    (0, b"$FL2@(#)", "an SPSS file (.sav); " + _READ_COLUMNAR.format("pandas.read_spss")),
    (0, b"$FL3@(#)", "an SPSS file (.zsav); " + _READ_COLUMNAR.format("pandas.read_spss")),
    (
        0,
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "an old Excel workbook (.xls) or another Office file; save it as CSV (UTF-8)",
    ),
    (0, b"%PDF-", "a PDF file; extract its rows as CSV or JSON lines"),
    (0, b"\x89PNG\r\n\x1a\n", f"a PNG image, {_MEDIA}"),
    (0, b"\xff\xd8\xff", f"a JPEG image, {_MEDIA}"),
    (0, b"GIF87a", f"a GIF image, {_MEDIA}"),
    (0, b"GIF89a", f"a GIF image, {_MEDIA}"),
    (0, b"II*\0", f"a TIFF image, {_MEDIA}"),
    (0, b"MM\0*", f"a TIFF image, {_MEDIA}"),
    (8, b"WEBPVP8", f"a WebP image, {_MEDIA}"),
    (8, b"WAVEfmt ", f"an audio file, {_MEDIA}"),
    (4, b"ftypisom", f"a video, {_MEDIA}"),
    (4, b"ftypmp42", f"a video, {_MEDIA}"),
    (0, b"\x7fELF", f"a program, {_MEDIA}"),
    (0, b"Salted__", "encrypted with OpenSSL; decrypt it"),
    (0, b"age-encryption.org/v1\n", "encrypted with age; decrypt it"),
    (0, b"-----BEGIN PGP MESSAGE", "encrypted with PGP; decrypt it"),
)
"""(offset, magic number, what the file is and what to do). Each holds bytes that no text has, or is long."""

_PATTERNS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (
        re.compile(rb"\]\0\0[\0-\xff]{2}(\xff{8}|[\0-\xff]{5}\0{3})", re.DOTALL),
        "lzma-compressed; decompress it",
    ),
    (re.compile(rb"[\0-\xff]{8}DUCK[\0-\xff]\0{7}", re.DOTALL), f"a DuckDB database; {_EXPORT}"),
    (
        re.compile(rb"ORC\n?[^\r\n]{0,60}[\0-\x08\x0e-\x1f]"),
        "an ORC file; " + _READ_COLUMNAR.format("pyarrow.orc"),
    ),
    (re.compile(rb"FEA1\0"), "a Feather file; " + _READ_COLUMNAR.format("pyarrow.feather.read_table")),
    (
        re.compile(rb"\x80[\x02-\x05][\x00-\x7f\x80-\x95]|\([dl]p[01]\r?\n"),
        "a Python pickle, which is never loaded because that can run code; convert it to Parquet with pandas",
    ),
    (
        re.compile(rb"X\n\0\0\0[\x02\x03]|A\n[23]\n\d{5,6}\n\d{5,6}\n|RD[XA][23]\n"),
        "an R data file (.rds or .RData); export the table with write.csv",
    ),
    (
        re.compile(rb"[\x69\x6c\x6e-\x73][\x01\x02]\x01\0"),
        "a Stata file (.dta); " + _READ_COLUMNAR.format("pandas.read_stata"),
    ),
)
"""(pattern at the start of the file, what the file is and what to do)."""

_MIN_ZLIB_BYTES = 64


def binary_kind(head: bytes) -> str | None:
    """What a binary file is and what to do, from its first bytes; None if they are not of a known kind."""
    for offset, magic, kind in _MAGIC:
        if head.startswith(magic, offset):
            return kind
    for pattern, kind in _PATTERNS:
        if pattern.match(head):
            return kind
    return _zlib_kind(head)


def _zlib_kind(head: bytes) -> str | None:
    if head[:1] != b"x" or int.from_bytes(head[:2], "big") % 31 or head.isascii():
        return None
    decoder = zlib.decompressobj()
    try:
        text = decoder.decompress(head, 1 << 16)
    except zlib.error:
        return None
    # A text can start like zlib data, but never decompresses.
    if not decoder.eof and len(text) < _MIN_ZLIB_BYTES:
        return None
    return "zlib-compressed (Hadoop's .deflate); decompress it, or compress it as .gz or .zst"
