"""Nested fields of a record as fields whose names are paths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_MAX_DEPTH = 8


def flat_records(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Records with `review.text` instead of `{"review": {"text": ...}}`, for all objects in them."""
    return [_flat(record, _MAX_DEPTH) for record in records]


def _flat(record: Mapping[str, Any], depth: int) -> dict[str, Any]:
    flat = {name: value for name, value in record.items() if not _is_object(value) or not depth}
    for name, value in record.items():
        # Keys of Python literals can have any type.
        if depth and _is_object(value) and isinstance(name, str):
            for inner, inner_value in _flat(value, depth - 1).items():
                if isinstance(inner, str):
                    flat.setdefault(f"{name}.{inner}", inner_value)
    return flat


def _is_object(value: object) -> bool:
    return isinstance(value, dict) and bool(value)
