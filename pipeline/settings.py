"""Reading of settings: defaults, then a TOML file, then `--set`, then a job's own options."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import ValidationError

from pipeline.config import ColumnName, Config, Names
from pipeline.errors import SettingError
from pipeline.overrides import parse_item, split_items

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def load_config(file: str | None = None, sets: Iterable[str] = (), **options: object) -> Config:
    """Read settings: defaults, then a TOML file, then `--set`, then a job's own options.

    Args:
        file: path of a TOML file, or None.
        sets: texts of `--set`, each with one or more settings (see overrides.py); the last value of a name
            wins.
        options: `section__key=value` from a job's own options; None means not given.
    Raises:
        SettingError: the file is missing or not TOML, a name is unknown, a value is invalid, or `--set` and
            an option give different values.
    """
    data = {} if file is None else _read_toml(file)
    given = read_sets(sets)
    for name, value in options.items():
        if value is not None:
            _add_option(given, name.replace("__", ".", 1), value)
    for name, value in given.items():
        section, _, key = name.partition(".")
        table = data.setdefault(section, {})
        # Otherwise validation reports that it must be a table.
        if isinstance(table, dict):
            table[key] = value
    where = "" if file is None else f" (from {file} and --set)"
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise SettingError(_explain(error) + where) from None


def read_sets(sets: Iterable[str]) -> dict[str, object]:
    """Values from texts of `--set`, by name; see load_config."""
    given: dict[str, object] = {}
    for text in sets:
        for number, item in enumerate(split_items(text)):
            name, value = parse_item(item)
            if name not in setting_names():
                raise SettingError(f"--set {item.strip()}: {_unknown(name, follows_comma=number > 0)}")
            given[name] = value if isinstance(value, str | list) else _as_written(name, value, item)
    return given


def _as_written(name: str, value: object, item: str) -> object:
    """The text of a value if the setting names columns: one can be named `1.50` or `2018-07-31`."""
    section, _, key = name.partition(".")
    annotation = Config.model_fields[section].annotation.model_fields[key].annotation  # type: ignore[union-attr]
    is_name = annotation in (Names | None, ColumnName | None)
    return item.partition("=")[2].strip() if is_name else value


def _add_option(given: dict[str, object], name: str, value: object) -> None:
    """Add the value of a job's own option; raise SettingError if `--set` gives a different value."""
    if given.setdefault(name, value) != value:
        raise SettingError(
            f"--set {name}={given[name]}: conflicts with {value} of another option; omit one of them"
        )


def setting_names() -> list[str]:
    """Every dotted setting name."""
    return [
        f"{section}.{key}"
        for section, field in Config.model_fields.items()
        for key in field.annotation.model_fields  # type: ignore[union-attr]
    ]


def _read_toml(file: str) -> dict[str, object]:
    try:
        return tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingError(f"--config {file}: no such file") from None
    except OSError as error:
        raise SettingError(f"--config {file}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"--config {file}: not valid TOML: {error}") from None


def _unknown(name: str, *, follows_comma: bool = False) -> str:
    known = setting_names()
    close = difflib.get_close_matches(name, known, n=1) or [
        k for k in known if k.partition(".")[2] == name.rpartition(".")[2]
    ]
    if close:
        return f"unknown setting {name}; did you mean {close[0]}?"
    quote = "if it is part of the preceding value, quote that value; " if follows_comma else ""
    return f"unknown setting {name}; {quote}known settings: {', '.join(known)}"


def _unknown_section(name: str, value: object) -> str:
    if name in setting_names():
        return f'unknown section "{name}"; omit the quotes'
    if not isinstance(value, dict):
        return _unknown(name)
    known = list(Config.model_fields)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known sections: {', '.join(known)}"
    return f"unknown section {name}; {hint}"


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"][:2])
    if first["type"] == "extra_forbidden":
        return _unknown(name) if len(first["loc"]) > 1 else _unknown_section(name, first["input"])
    if first["type"] == "model_type":
        return f"{name}={first['input']}: [{name}] must be a table"
    reason = first["msg"].removeprefix("Value error, ")
    if isinstance(first["input"], Mapping):
        return f"{name}: {reason}"
    return f"{name}={first['input']}: {reason}"
