"""Text files that are not dumps: web pages, error responses, pointers to files, scripts, SQL."""

from __future__ import annotations

import re

from pipeline.humanize import counted, printable
from pipeline.ingest.parse.records import decode_json

_SEARCHED_BYTES = 1 << 14
_MAX_ERROR_BYTES = 1 << 10
_MAX_POINTER_BYTES = 1 << 12
_MAX_SHOWN_CHARS = 80

_SPACE = rb"(?:\s|<!--(?:(?!-->).)*-->|<\?(?:(?!\?>).)*\?>)*"
_HTML = re.compile(_SPACE + rb"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
_HTML_TABLE = re.compile(_SPACE + rb"<(?:table|div|style|meta)\b", re.IGNORECASE | re.DOTALL)
_TITLE = re.compile(rb"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_XML_ERROR = re.compile(
    _SPACE + rb"<Error(?:\s[^>]*)?>\s*<Code>([^<]*)</Code>(?:\s*<Message>([^<]*))?", re.DOTALL
)
_LFS_POINTER = re.compile(rb"version https://(?:git-lfs\.github\.com|hawser\.github\.com)/spec/v1\r?\n")
_LFS_SIZE = re.compile(rb"^size (\d+)", re.MULTILINE)
_ANNEX_POINTER = re.compile(rb"(?:(?:\.\./)*\.git|/)/?annex/objects/\S+\s*$")
_DVC_POINTER = re.compile(rb"(?:[a-z_]+: [^\n]*\n)*outs:\r?\n- md5: [0-9a-f]{32}")
_NOTEBOOK = re.compile(
    rb'\s*\{\s*"cells"\s*:\s*\[\s*(?:\]|\{\s*"(?:cell_type|attachments|id|execution_count)")'
)
_XML = re.compile(rb"\s*<(?:\?xml\s|[a-z_][\w.-]*(?:\s[^<>]*)?>\s*<[a-z_!])", re.IGNORECASE)
_BLITZER = re.compile(rb"\s*<review>\s*<unique_id>")
_ERROR_MESSAGE = re.compile(
    rb"\d{3}:? (not found|forbidden|unauthorized|bad request|bad gateway|internal server error"
    rb"|service unavailable|gateway time-?out|too many requests|page not found)[.!]?"
    rb"|(not found|forbidden|unauthorized|access denied|bad gateway|internal server error"
    rb"|service unavailable|too many requests|entry not found|repository not found"
    rb"|invalid username or password)[.!]?"
    rb"|curl: \(\d+\) [^\n]*",
    re.IGNORECASE,
)

_DETAIL = re.compile(
    "(?:authentication|invalid|not found|not authenticated|forbidden|unauthorized|method|request was)"
    r"\b",
    re.IGNORECASE,
)
"""Starts of the messages of Django and FastAPI."""
_CERTAIN_KEYS = {"error", "errors", "error_description", "documentation_url"}
_ERROR_KEYS = _CERTAIN_KEYS | {
    *("code", "detail", "message", "path", "request_id", "requestId", "status", "statusCode", "status_code"),
    *("success", "timestamp", "title", "type"),
}
"""Fields of the error responses of web services; the first ones are those that no review has."""

_STARTS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"\{\\rtf1"), "an RTF document; save its rows as CSV or JSON lines"),
    (re.compile(rb"#!\s*/"), "a script, not data; remove it from the input"),
    (
        re.compile(
            rb"(?:\s|/\*(?:(?!\*/)[^\n])*\*/)*-- (?:MySQL|MariaDB|PostgreSQL database|phpMyAdmin SQL) dump",
            re.I,
        ),
        "an SQL dump; load it into the database and export the table as CSV",
    ),
    (
        re.compile(
            rb"(?:--[^\n]*\n|\s|/\*(?:(?!\*/).)*\*/;?)*(?:CREATE TABLE|INSERT INTO|DROP TABLE)\s", re.DOTALL
        ),
        "SQL statements; load them into a database and export the table as CSV",
    ),
    (
        re.compile(rb"\s*(?:(?:var|let|const)\s+)?[A-Za-z_$][\w$.\[\]'\"]*\s*[=(]\s*(?:\[\s*)?\{\s*[\"}]"),
        "JavaScript that contains JSON; remove what is before the first bracket and after the last one",
    ),
    (re.compile(rb"# xet version \d"), "a Xet pointer, not the file itself; download the file"),
)
"""(pattern at the start of the file, what the file is and what to do)."""


def text_kind(text: bytes, *, complete: bool) -> str | None:
    """What a text file is and what to do, from its first bytes; None if they can be those of a dump.

    Args:
        text: in UTF-8, without a byte order mark.
        complete: whether this is the whole file.
    """
    text = text[:_SEARCHED_BYTES]
    if _HTML.match(text):
        return _html_kind(text)
    if _HTML_TABLE.match(text) and re.search(rb"<table\b", text, re.IGNORECASE):
        return "an HTML table, perhaps named .xls; convert it to CSV, for example with pandas.read_html(…)"
    if _XML_ERROR.match(text):
        return _xml_error_kind(text)
    if complete and (pointer := _pointer_kind(text)):
        return pointer
    for pattern, kind in _STARTS:
        if pattern.match(text):
            return kind
    if _NOTEBOOK.match(text):
        return "a Jupyter notebook, not data; remove it from the input"
    if b'progid="Excel.Sheet"' in text[:1000]:
        return "an Excel workbook in XML; save the sheet as CSV (UTF-8)"
    if _BLITZER.match(text):
        return (
            "<review> elements as in Blitzer's sentiment data, which are not valid XML; write each as a JSON"
            " line with its rating and review_text, and read these with --set"
            " input.text=review_text,input.stars=rating"
        )
    if _XML.match(text):
        return (
            "an XML document; convert it to JSON lines, for example with"
            " pandas.read_xml(…).to_json(…, orient='records', lines=True)"
        )
    return None


def _html_kind(text: bytes) -> str:
    title = _TITLE.search(text)
    titled = f" titled {_shown(title[1])!r}" if title and title[1].strip() else ""
    return f"an HTML page{titled}, perhaps an error or login page; download the file itself"


def _xml_error_kind(text: bytes) -> str:
    match = _XML_ERROR.match(text)
    assert match is not None
    reason = ": ".join(_shown(part) for part in match.groups() if part)
    return f"an error response of the storage ({reason}); download the file again"


def _pointer_kind(text: bytes) -> str | None:
    if len(text) <= _MAX_POINTER_BYTES:
        if _LFS_POINTER.match(text):
            size = _LFS_SIZE.search(text)
            of = f" of {counted(int(size[1]), 'byte')}" if size else ""
            return f"a Git LFS pointer to a file{of}, not the file itself; run git lfs pull"
        if _ANNEX_POINTER.match(text):
            return "a git-annex pointer, not the file itself; run git annex get"
        if _DVC_POINTER.match(text):
            return "a DVC pointer, not the file itself; run dvc pull"
    if len(text) <= _MAX_ERROR_BYTES and _ERROR_MESSAGE.fullmatch(text.strip()):
        return f"an error message instead of data ({_shown(text)!r}); download the file again"
    if len(text) <= _MAX_ERROR_BYTES and (message := _api_error(text)):
        return f"an error response of a web service ({_shown(message)!r}); download the file again"
    return None


def _api_error(text: bytes) -> bytes | None:
    """Message of a JSON document that is an error response of a web service; None if it is anything else."""
    try:
        document = decode_json(text)
    except ValueError:
        return None
    if not isinstance(document, dict) or not document.keys() <= _ERROR_KEYS:
        return None
    codes = [document.get(name) for name in ("status", "code", "statusCode", "status_code")]
    has_code = any(re.fullmatch(r"[45]\d\d", str(code)) for code in codes)
    is_certain = any(document.get(name) for name in _CERTAIN_KEYS)
    if not (has_code or is_certain or _DETAIL.match(str(document.get("detail")))):
        return None
    error = document.get("error")
    inner = error if isinstance(error, dict) else {}
    found = [inner.get("message"), error, *(document.get(name) for name in ("message", "detail", "errors"))]
    message = next((str(m) for m in found if m and not isinstance(m, dict)), "no message")
    return message.encode(errors="replace")


def _shown(text: bytes) -> str:
    return printable(" ".join(text.decode(errors="replace").split()), _MAX_SHOWN_CHARS, ellipsis="…")
