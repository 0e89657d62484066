"""Grammar of `--set`: one or more settings in a text.

    text = item ("," item)*        item = section.key "=" value

A comma starts the next item if it is outside quotes and followed by `word.word=`, whether or not that is a
known setting; a word starts with a letter or an underscore. All other commas belong to the value.

A value is TOML (`3e-5`, `false`, `["a", "b,c"]`, `"a.b=x,c=y"`) or else plain text (`a,b`, `/data/x=1`).
Quotes, single or double, are special only at the start of a value or of a list element, so `it's` is plain
text; there they must be closed. A plain value that contains `,word.word=`, as some paths and URIs do, is
ambiguous and is split; quote it.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Sequence

from pipeline.errors import SettingError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_WORD = r"[A-Za-z_][\w-]*"
_NAME = rf"\s*{_WORD}(?:\.{_WORD})+\s*="
_QUOTED = r""""(?:[^"\\]|\\.)*"|'[^']*'"""
_ELEMENT = re.compile(
    rf"(?:^|,)(?P<element>(?P<name>{_NAME})?(?:(?P<quoted>[\s\[]*(?:{_QUOTED})[\s\]]*(?=,|\Z))|[^,]*))"
)
"""The text up to the next comma outside quotes: an item, or a further element of the value before it."""
_PLAIN = re.compile(r"""[^\s,"'\[\]{}](?:[^,"'\[\]{}\n\r]*[^\s,"'\[\]{}])?""")
"""A name that needs no quotes in a list of names."""
_OPENS_QUOTES = re.compile(rf"""(?:{_NAME})?[\s\[]*["']""")


def split_items(text: str) -> list[str]:
    """Items of a text: `a.x=1,2,b.y=3` has `a.x=1,2` and `b.y=3`."""
    items: list[str] = []
    for found in _ELEMENT.finditer(text):
        if items and found["name"] is None:
            items[-1] += f",{found['element']}"
        else:
            items.append(found["element"])
    return items


def parse_item(item: str) -> tuple[str, object]:
    """Name and value of an item.

    Raises:
        SettingError: there is no `=` or no value, or the value has quotes but is not valid TOML.
    """
    name, equals, text = (part.strip() for part in item.partition("="))
    if not equals:
        raise SettingError(f"--set {item}: no '='; write --set section.key=value")
    if not text:
        raise SettingError(f'--set {item}: no value; write {name}="" for an empty text')
    opened = [e for e in _ELEMENT.finditer(item) if _OPENS_QUOTES.match(e["element"])]
    value = _toml_value(text)
    if opened and (value is None or any(e["quoted"] is None for e in opened)):
        raise SettingError(
            f"--set {item}: not valid TOML; close the quotes, put nothing after them, and write a list as"
            ' ["a", "b"]'
        )
    return name, text if value is None else value


def written_value(values: Sequence[str], *, is_list: bool = True) -> str:
    """Text of a value for `--set`: plain if its meaning is clear, else TOML.

    Args:
        values: one or more names, or other texts; exactly one if not `is_list`.
    """
    text = ",".join(values)
    if all(map(_PLAIN.fullmatch, values)) and split_items(f"a.b={text}") == [f"a.b={text}"]:
        return text
    return json.dumps(list(values) if is_list else values[0], ensure_ascii=False)


def quoted_setting(name: str, values: Sequence[str], *, is_list: bool = True) -> str:
    """A setting as a message proposes it, quoted for a shell; see `written_value`."""
    return f"{name}={shlex.quote(written_value(values, is_list=is_list))}"


def _toml_value(text: str) -> object:
    """Value of a text as TOML; None if it is not valid TOML."""
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return None
    # A line break starts another key.
    return table["value"] if len(table) == 1 else None
