"""Readable one-line messages for errors of pyarrow filesystems."""

from __future__ import annotations

import re

from pyarrow import fs as pafs


def with_message(error: Exception, filesystem: pafs.FileSystem, path: str) -> Exception:
    """The given error, or an equivalent one with a message if the given one has none.

    S3 answers a failed HEAD request without a body; a failed LIST request has one.
    """
    if "No response body" in str(error):
        try:
            filesystem.get_file_info(pafs.FileSelector(path))
        except OSError as detailed:
            return detailed
    return error


def is_store_error(error: OSError) -> bool:
    """Whether an error comes from an object store or the network, not from the content of a file."""
    return bool(re.search("AWS Error|google::cloud::Status|Azure", str(error)))


_REASONS = (
    (r"NO_SUCH_BUCKET|Bucket '\S*' not found", "no such bucket"),
    (
        r"INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_CLIENT_TOKEN_ID|UNRECOGNIZED_CLIENT"
        r"|InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken",
        "the store rejected the credentials; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
    (
        r"REQUEST_EXPIRED|ExpiredToken|token has expired|REQUEST_TIME_TOO_SKEWED",
        "the credentials have expired, or this machine's clock is wrong",
    ),
    (
        r"PermanentRedirect|AuthorizationHeaderMalformed|HTTP status 301|IllegalLocationConstraint"
        r"|bucket is located in|region '\S*' is wrong",
        "the bucket is in another region; append ?region=REGION to the URI",
    ),
    (
        r"ACCESS_DENIED|MISSING_AUTHENTICATION|HTTP status 40[13]|PERMISSION_DENIED|UNAUTHENTICATED"
        r"|OAuth2 access",
        "access denied: the credentials are missing, wrong, or lack permission",
    ),
    (
        # Arrow reads the response into a buffer of the requested size.
        r"Failed to flush response stream",
        "the store sent an error response larger than the requested range; try again",
    ),
    (
        r"HTTP status 400",
        "the store rejected the request: expired credentials, or a bucket in another region (?region=REGION)",
    ),
)


def explain(error: Exception) -> str:
    """Reason of a filesystem error, in one line without codes and request IDs."""
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    for pattern, reason in _REASONS:
        if re.search(pattern, text):
            return reason
    if "NETWORK_CONNECTION" in text or "Retry policy exhausted" in text:
        detail = re.search(r"(?:Details: |CURL error \[\d+\]=)(.+?)(?: error_info|$)", text)
        cause = f" ({detail.group(1).partition(' after ')[0]})" if detail else ""
        return f"cannot reach the store{cause}; check the network, and AWS_ENDPOINT_URL if set"
    summary = text.partition(". Detail:")[0].partition("Detail:")[0].partition(" (Request ID")[0]
    system_error = re.search(r"Detail: \[errno \d+\] (.+)$", text)
    return summary.strip().rstrip(".") + (f": {system_error.group(1)}" if system_error else "")
