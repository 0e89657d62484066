"""The typed record that a JSON object is decoded to, with the fields of a format.

A field name with dots, such as `review.text`, is the field of that name, or else a path of nested objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgspec

from pipeline.ingest.parse.formats import CARRIED_FIELDS, Format

VALUES = (*CARRIED_FIELDS, "stars")
"""Fields of a record apart from its texts."""

RecordDecoder = msgspec.json.Decoder[msgspec.Struct]
"""Decodes a line to a record with the fields of a format."""

_Tree = dict[str, Any]
"""Name of a nested field → its attribute, or the tree of its own fields."""


def text_names(fmt: Format) -> list[str]:
    """Attributes of a record that contain the parts of its text."""
    return [f"text_{i}" for i in range(len(fmt.text))]


@lru_cache(maxsize=32)
def record_decoder(fmt: Format) -> RecordDecoder:
    """Typed decoder of the fields that are used; other fields are skipped without creating objects."""
    number = float | str | None
    types: dict[str, Any] = {"verified": bool | float | str | None, "timestamp": number, "stars": number}
    rename = {n: field for n in VALUES if (field := getattr(fmt, n)) is not None}
    rename |= dict(zip(text_names(fmt), fmt.text, strict=True))
    types = {name: types.get(name, str | None) for name in rename}
    tree, is_plain = _tree(rename), all(map(_can_rename, rename.values()))
    is_ambiguous = not is_plain or tree is None or not tree.keys().isdisjoint(rename.values())
    nested, paths = _nested({} if is_ambiguous or tree is None else tree, types)
    fields = [(name, types[name], None) for name in rename] + [(name, kind, None) for name, _, kind in nested]
    # Fields that the format does not have are None in every record.
    namespace: dict[str, Any] = {n: None for n in VALUES if n not in rename}
    namespace |= {"PATHS": paths, "NAMES": rename, "IS_AMBIGUOUS": is_ambiguous}
    # Records contain only scalars; without tracking by the garbage collector decoding takes half the time.
    renamed = rename | {name: field for name, field, _ in nested} if is_plain else {}
    record = msgspec.defstruct("Record", fields, rename=renamed, namespace=namespace, gc=False)
    return msgspec.json.Decoder(record)


def _can_rename(field: str) -> bool:
    """Whether msgspec can decode a field of this name."""
    return not any(c in '"\\' or c < " " or "\ud800" <= c <= "\udfff" for c in field)


def _tree(rename: Mapping[str, str]) -> _Tree | None:
    """Tree of the names with dots; None if an object of one is a value of another."""
    tree: _Tree = {}
    for attribute, field in rename.items():
        *parents, name = field.split(".")
        if not parents:
            continue
        inner = tree
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                return None
        if name in inner:
            return None
        inner[name] = attribute
    return tree


def _nested(
    tree: _Tree, types: Mapping[str, Any]
) -> tuple[list[tuple[str, str, Any]], dict[str, tuple[str, ...]]]:
    """Attribute, name and type of each field of a tree; and the path of attributes to each of its values."""
    fields: list[tuple[str, str, Any]] = []
    paths: dict[str, tuple[str, ...]] = {}
    for number, (name, inner) in enumerate(tree.items()):
        if isinstance(inner, str):
            fields.append((inner, name, types[inner]))
            paths[inner] = (inner,)
            continue
        attribute = f"nested_{number}"
        parts, inner_paths = _nested(inner, types)
        kind: Any = msgspec.defstruct(
            "Nested", [(a, k, None) for a, _, k in parts], rename={a: n for a, n, _ in parts}, gc=False
        )
        fields.append((attribute, name, kind | None))
        paths |= {value: (attribute, *path) for value, path in inner_paths.items()}
    return fields, paths


def has_ambiguous_paths(decoder: RecordDecoder) -> bool:
    """Whether one field is used as a value and as an object, or the decoder does not support a name.

    Then each record is decoded untyped.
    """
    return bool(decoder.type.IS_AMBIGUOUS)  # type: ignore[attr-defined]


def values_of(records: Sequence[msgspec.Struct], attribute: str) -> list[Any]:
    """(N,) values of an attribute of N records of one type."""
    values = list(map(attrgetter(attribute), records))
    path = type(records[0]).PATHS.get(attribute, ()) if records else ()  # type: ignore[attr-defined]
    if not path:
        return values
    inner: Iterable[Any] = records
    for name in path:
        inner = [None if r is None else getattr(r, name) for r in inner]
    return [nested if value is None else value for value, nested in zip(values, inner, strict=True)]


def value_names(decoder: RecordDecoder) -> dict[str, str]:
    """Attributes of a record that are values, and the names of their fields, which may be paths."""
    return dict(decoder.type.NAMES)  # type: ignore[attr-defined]


def field_value(record: Mapping[Any, Any], name: str) -> object:
    """Value of the field of this name, or at this path; None if there is none."""
    if name in record or "." not in name:
        return record.get(name)
    value: object = record
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
