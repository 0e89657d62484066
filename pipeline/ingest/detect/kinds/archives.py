"""Archives and the documents that are zip archives, told apart by the names of their first entries."""

from __future__ import annotations

import re

from pipeline.humanize import printable

_TAR_BLOCK_BYTES = 512
_TAR_CHECKSUM = slice(148, 156)
_ZIP_ENTRY = b"PK\x03\x04"
_ZIP_HEADER_BYTES = 30
_MAX_NAME_CHARS = 80

_ZIP_DOCUMENTS: tuple[tuple[str, str], ...] = (
    (r"xl/", "an Excel workbook (.xlsx); save the sheet as CSV (UTF-8)"),
    (r"word/", "a Word document (.docx); save the rows as CSV or JSON lines"),
    (r"ppt/", "a PowerPoint file (.pptx); save the rows as CSV or JSON lines"),
    (
        r"\[Content_Types\]\.xml$|docProps/",
        "an Office file (.xlsx, .docx or .pptx); save its rows as CSV (UTF-8)",
    ),
    (r"Index/.*\.iwa$", "an Apple Numbers or Pages file; export it as CSV"),
    (r".*\.npy$", "NumPy arrays (.npz); write the rows as CSV or Parquet"),
    (r"[^/]+/data\.pkl$", "a PyTorch file; write the rows as CSV or Parquet"),
)
"""(pattern of the name of an entry, what the file is and what to do)."""

_OPEN_DOCUMENTS = {
    b"spreadsheet": "an OpenDocument spreadsheet (.ods); save the sheet as CSV (UTF-8)",
    b"text": "an OpenDocument text (.odt); save the rows as CSV or JSON lines",
}


def archive_kind(head: bytes) -> str | None:
    """What an archive is and what to do, from its first bytes; None if they are not those of an archive."""
    if is_tar(head):
        name = head[:100].partition(b"\0")[0]
        return f"a tar archive, starting with {_shown(name)}; unpack it and give the files in it"
    if head.startswith(_ZIP_ENTRY):
        return _zip_kind(head)
    if head.startswith((b"PK\x05\x06", b"PK\x07\x08")):
        return "a zip archive, empty or in several parts; extract it"
    return None


def is_tar(head: bytes) -> bool:
    """Whether the first bytes are those of a tar archive: by the magic of POSIX, or by the checksum of v7."""
    if head[257:262] == b"ustar":
        return True
    block = head[:_TAR_BLOCK_BYTES]
    digits = block[_TAR_CHECKSUM].strip(b" \0")
    if len(block) < _TAR_BLOCK_BYTES or not re.fullmatch(rb"[0-7]+", digits):
        return False
    # The checksum counts its own field as eight spaces.
    total = sum(block) - sum(block[_TAR_CHECKSUM]) + 8 * ord(" ")
    return b"\0" in block and int(digits, 8) == total


def _zip_kind(head: bytes) -> str:
    names = _zip_names(head)
    if names[:1] == [b"mimetype"]:
        content = head[_ZIP_HEADER_BYTES + len(b"mimetype") :][:80]
        for word, kind in _OPEN_DOCUMENTS.items():
            if content.startswith(b"application/vnd.oasis.opendocument." + word):
                return kind
    decoded = [name.decode(errors="replace") for name in names]
    for pattern, kind in _ZIP_DOCUMENTS:
        if any(re.match(pattern, name) for name in decoded):
            return kind
    first = f", starting with {_shown(names[0])}" if names else ""
    return f"a zip archive{first}; extract it"


def _zip_names(head: bytes) -> list[bytes]:
    """Names of the entries whose headers are in the first bytes of a zip archive."""
    names = []
    for match in re.finditer(re.escape(_ZIP_ENTRY), head):
        start = match.start()
        size = int.from_bytes(head[start + 26 : start + 28], "little")
        name = head[start + _ZIP_HEADER_BYTES :][:size]
        if name:
            names.append(name)
    return names


def _shown(name: bytes) -> str:
    return printable(name.decode(errors="replace"), _MAX_NAME_CHARS, ellipsis="…")
