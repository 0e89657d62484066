"""The grammar of `--set`: no setting becomes part of the preceding value."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SettingError
from pipeline.overrides import parse_item, quoted_setting, split_items, written_value
from pipeline.settings import load_config

SETTINGS = ("input.text_separator", "input.stars", "input.text", "train.seed", "split.val_from")
PIECES = (
    "a",
    "b.c",
    "=",
    ",",
    ",b.c=",
    ",train.seed=",
    '"',
    "'",
    "\\",
    "[",
    "]",
    "#",
    " ",
    "\n",
    "1",
    "-2",
    "é",
)


@st.composite
def raw_items(draw: st.DrawFn) -> str:
    """A setting whose value is made of the special characters of the grammar; few are valid."""
    text = "".join(draw(st.lists(st.sampled_from(PIECES), max_size=6)))
    quoted = [f'"{text}"', f"'{text}'", f'["{text}", "x"]', f"[ '{text}' ]"]
    value = draw(st.sampled_from([text, *quoted, "3", "2020-01-31", "a,b"]))
    return f"{draw(st.sampled_from(SETTINGS))}={value}"


def is_valid(item: str) -> bool:
    """Whether an item is a single setting that is accepted."""
    try:
        load_config(sets=[item])
    except SettingError:
        return False
    return len(split_items(item)) == 1


@given(st.lists(raw_items(), max_size=12), st.sampled_from([",", ", ", " ,"]))
def test_settings_joined_by_commas_equal_separate_ones(raw: list[str], comma: str) -> None:
    items = [item for item in raw if is_valid(item)]
    # An empty text is not a setting.
    assert load_config(sets=[comma.join(items)] if items else []) == load_config(sets=items)


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("a.b=1", ["a.b=1"]),
        ("a.b=1,2,c.d=3", ["a.b=1,2", "c.d=3"]),
        ("a.b=x,c.d.e=3,f-g.h_i=4", ["a.b=x", "c.d.e=3", "f-g.h_i=4"]),
        ('a.b="a.b=x,c=y",c.d=1', ['a.b="a.b=x,c=y"', "c.d=1"]),
        ("a.b='x,y.z=1',c.d=1", ["a.b='x,y.z=1'", "c.d=1"]),
        (r'a.b="x\",y.z=1",c.d=1', [r'a.b="x\",y.z=1"', "c.d=1"]),
        ('a.b=["x","y.z=1,v.w=2"],c.d=1', ['a.b=["x","y.z=1,v.w=2"]', "c.d=1"]),
        ("a.b=it's,c.d=isn't", ["a.b=it's", "c.d=isn't"]),
        ('a.b="x,c.d=1', ['a.b="x', "c.d=1"]),
        ("a.b=/data/x=1,y=2,z/part", ["a.b=/data/x=1,y=2,z/part"]),
        ("a.b=1.0=low,2.0=high", ["a.b=1.0=low,2.0=high"]),
        # Ambiguous without quotes; refused later, because d.e is not a setting.
        ("a.b=s3://x/y?b.c=1,d.e=2", ["a.b=s3://x/y?b.c=1", "d.e=2"]),
        ("a.b=,c.d=", ["a.b=", "c.d="]),
        ("a.b=x,", ["a.b=x,"]),
        (",a.b=x", ["", "a.b=x"]),
        ("", [""]),
    ],
)
def test_comma_before_a_name_outside_quotes_starts_a_setting(text: str, items: list[str]) -> None:
    assert split_items(text) == items


@pytest.mark.parametrize(
    ("item", "value"),
    [
        ("a.b = 3 ", 3),
        ("a.b=3e-5", 3e-5),
        ('a.b=""', ""),
        ('a.b=["x", "y,z",]', ["x", "y,z"]),
        ("a.b=it's", "it's"),
        ("a.b=[::1]:6379", "[::1]:6379"),
        ("a.b=x#y", "x#y"),
        ("a.b=1\nc = 2", "1\nc = 2"),
    ],
)
def test_value_is_toml_or_else_text(item: str, value: object) -> None:
    assert parse_item(item) == ("a.b", value)


@pytest.mark.parametrize(
    "item",
    ['a.b="x', "a.b='x", 'a.b="x"y', 'a.b=["x"', 'a.b="x","y"', 'a.b=x,"y"', 'a.b="x" # z', 'a.b=1 # z,"'],
)
def test_quotes_that_do_not_enclose_a_toml_value_are_refused(item: str) -> None:
    with pytest.raises(SettingError) as raised:
        parse_item(item)
    assert str(raised.value).startswith(f"--set {item}: not valid TOML; close the quotes, ")


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("train.epochs", "--set train.epochs: no '='; write --set section.key=value"),
        ("model.name= ", '--set model.name= : no value; write model.name="" for an empty text'),
    ],
)
def test_item_without_a_value_is_refused(item: str, message: str) -> None:
    with pytest.raises(SettingError) as raised:
        parse_item(item)
    assert str(raised.value) == message


NAMES = st.text(st.sampled_from("ab ,[]{}='\\\"#é1.-\t"), min_size=1, max_size=6).filter(str.strip)


@given(st.lists(NAMES, min_size=1, max_size=3))
def test_proposed_settings_are_read_as_they_are_meant(names: list[str]) -> None:
    settings = (
        f"input.text={written_value(names)}",
        f"input.stars={written_value(names[:1], is_list=False)}",
    )
    for sets in (settings, [",".join(settings)]):
        config = load_config(None, sets)
        assert config.input.text == tuple(names)
        assert config.input.stars == names[0]
    (item,) = shlex.split(quoted_setting("input.text", names))
    assert load_config(None, [item]).input.text == tuple(names)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (["title", "review.text"], "title,review.text"),
        (["my text"], "my text"),
        (["What, and why?"], '["What, and why?"]'),
        (["[review] text"], '["[review] text"]'),
        ([" a"], '[" a"]'),
        (["a", "b.c=d"], '["a", "b.c=d"]'),
    ],
)
def test_plain_names_are_proposed_without_quotes(values: list[str], text: str) -> None:
    assert written_value(values) == text
