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

import re
import sys

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


def _toml_value(text: str) -> object:
    """Value of a text as TOML; None if it is not valid TOML."""
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return None
    # A line break starts another key.
    return table["value"] if len(table) == 1 else None
