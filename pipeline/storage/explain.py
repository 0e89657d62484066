"""Errors of object stores in plain words."""

from __future__ import annotations

import re

from pyarrow import fs as pafs


def with_text(error: Exception, filesystem: pafs.FileSystem, path: str) -> Exception:
    """An error that has a text; S3 sends none with its answer to HEAD, but does when asked to list."""
    if "No response body" in str(error):
        try:
            filesystem.get_file_info(pafs.FileSelector(path))
        except OSError as fuller:
            return fuller
    return error


def is_from_store(error: OSError) -> bool:
    """Whether an error tells of a store or the way to it, and not of what is in a file."""
    return bool(re.search("AWS Error|google::cloud::Status|Azure", str(error)))


_REASONS = (
    (r"NO_SUCH_BUCKET|Bucket '\S*' not found", "there is no such bucket"),
    (
        r"INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_CLIENT_TOKEN_ID|UNRECOGNIZED_CLIENT"
        r"|InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken",
        "the store does not know these credentials; see AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
    (
        r"REQUEST_EXPIRED|ExpiredToken|token has expired|REQUEST_TIME_TOO_SKEWED",
        "the credentials have expired, or this machine's clock is wrong",
    ),
    (
        r"PermanentRedirect|AuthorizationHeaderMalformed|HTTP status 301|IllegalLocationConstraint"
        r"|bucket is located in|region '\S*' is wrong",
        "the bucket is in another region; name that with ?region=REGION after the URI",
    ),
    (
        r"ACCESS_DENIED|MISSING_AUTHENTICATION|HTTP status 40[13]|PERMISSION_DENIED|UNAUTHENTICATED"
        r"|OAuth2 access",
        "access denied: the credentials are missing or wrong, or do not allow this",
    ),
    (
        # Arrow reads into a buffer of the size that it asked for.
        r"Failed to flush response stream",
        "the store answers with an error that is longer than what is read; try again",
    ),
    (
        r"HTTP status 400",
        "the store refuses the request: expired credentials, or a bucket in another region (?region=REGION)",
    ),
)


def explain(error: Exception) -> str:
    """The plain reason of an error of a filesystem, in one line."""
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    for pattern, reason in _REASONS:
        if re.search(pattern, text):
            return reason
    if "NETWORK_CONNECTION" in text or "Retry policy exhausted" in text:
        detail = re.search(r"(?:Details: |CURL error \[\d+\]=)(.+?)(?: error_info|$)", text)
        said = f" ({detail.group(1).partition(' after ')[0]})" if detail else ""
        return f"the store cannot be reached{said}; see the network, and AWS_ENDPOINT_URL if that is set"
    plain = text.partition(". Detail:")[0].partition("Detail:")[0].partition(" (Request ID")[0]
    system = re.search(r"Detail: \[errno \d+\] (.+)$", text)
    return plain.strip().rstrip(".") + (f": {system.group(1)}" if system else "")
