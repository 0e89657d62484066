"""Rejected records in the encoding of their file, and the field of a record that is not valid in it."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.ingest.parse.formats import Format
from pipeline.ingest.parse.records import decode_json, decode_python
from pipeline.ingest.parse.rejects import Reason, RejectedLine
from pipeline.ingest.read.chunks import Chunk
from pipeline.ingest.read.transcode import OriginalBytes


def in_encoding(rejected: Iterable[RejectedLine], chunk: Chunk, fmt: Format) -> list[RejectedLine]:
    """Rejected records of a chunk of text, with offset and bytes as in the file.

    Args:
        rejected: with offset and bytes of `chunk.raw`.
    """
    encoding = fmt.dialect.encoding
    named = [_with_field(reject, fmt) for reject in rejected]
    if encoding is None:
        return named
    original = OriginalBytes(chunk.raw, encoding, chunk.variants)
    return [_restored(reject, original, encoding) for reject in named]


def _with_field(reject: RejectedLine, fmt: Format) -> RejectedLine:
    """The record, with the invalid field in the detail, if it is in a syntax that names fields."""
    if reject.reason is not Reason.BAD_ENCODING or fmt.dialect.syntax == "csv" or reject.raw is None:
        return reject
    decode = decode_python if fmt.dialect.syntax == "python" else decode_json
    try:
        record = decode(reject.raw.decode(errors="replace").encode())
    except ValueError:
        record = None
    values = record if isinstance(record, dict) else {}
    field = next((f for f in fmt.fields() if "\ufffd" in str(values.get(f, ""))), "the line")
    return reject._replace(detail=f"{field} is not valid UTF-8: {reject.detail}")


def _restored(reject: RejectedLine, original: OriginalBytes, encoding: str) -> RejectedLine:
    assert reject.byte_offset is not None
    assert reject.raw is not None
    start, raw = original.span(reject.byte_offset, reject.byte_offset + len(reject.raw))
    detail = reject.detail
    if reject.reason is Reason.BAD_ENCODING:
        # The position in UTF-8 is not that in the file.
        detail = detail.partition(" UTF-8")[0] + f" {encoding}"
    return reject._replace(byte_offset=start, raw=raw, detail=detail)
