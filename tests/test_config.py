"""Settings: precedence of their sources; unknown names and invalid values are errors."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.config import Config, digest
from pipeline.errors import SettingError
from pipeline.settings import load_config, setting_names


def toml(folder: Path, text: str) -> str:
    file = folder / "settings.toml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def message(*sets: str, file: str | None = None) -> str:
    with pytest.raises(SettingError) as raised:
        load_config(file, sets)
    return str(raised.value)


def test_load_config_returns_the_defaults() -> None:
    assert load_config() == Config()


def test_options_override_sets_and_sets_override_the_file(tmp_path: Path) -> None:
    file = toml(tmp_path, "[train]\nepochs = 5\nseed = 5\nwarmup_ratio = 0.5\n[labels]\nscheme = 'binary'\n")
    config = load_config(file, ["train.epochs=6"], train__seed=7, model__name=None)
    assert (config.train.warmup_ratio, config.train.epochs, config.train.seed) == (0.5, 6, 7)
    assert config.labels.scheme == "binary"
    assert config.model.name == Config().model.name


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("train.epochs=4", "train.epochs", 4),
        (" train.epochs = 4 ", "train.epochs", 4),
        ("train.learning_rate=3e-5", "train.learning_rate", 3e-5),
        ("train.use_gpu=false", "train.use_gpu", False),
        ("train.use_gpu=False", "train.use_gpu", False),
        ("input.text=summary,reviewText", "input.text", ("summary", "reviewText")),
        ("input.text=title", "input.text", ("title",)),
        ('input.text=["a", "b,c"]', "input.text", ("a", "b,c")),
        ('input.text_separator=" = "', "input.text_separator", " = "),
        ("cluster.storage_path=/mnt/a=b", "cluster.storage_path", "/mnt/a=b"),
        ("cluster.address=ray://head:10001", "cluster.address", "ray://head:10001"),
        ("model.name=org/name", "model.name", "org/name"),
    ],
)
def test_set_parses_toml_values_or_else_text(text: str, name: str, value: object) -> None:
    section, _, key = name.partition(".")
    found = getattr(getattr(load_config(sets=[text]), section), key)
    assert found == value
    assert type(found) is type(value)


def test_last_set_takes_precedence() -> None:
    assert load_config(sets=["train.epochs=4", "train.epochs=5"]).train.epochs == 5


def test_option_and_set_must_agree() -> None:
    assert load_config(sets=["input.strict=true"], input__strict=True).input.strict is True
    with pytest.raises(SettingError) as raised:
        load_config(sets=["model.name=a"], model__name="b")
    assert str(raised.value) == ("--set model.name=a: conflicts with b of another option; omit one of them")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("train.epoch=1", "train.epochs"),
        ("trian.epochs=1", "train.epochs"),
        ("epochs=1", "train.epochs"),
        ("learning_rate=1", "train.learning_rate"),
        ("score.num_actor=1", "score.num_actors"),
        ("data.max_length=64", "tokenize.max_length"),
        ("input.max_reject_frac=1", "input.max_rejected_frac"),
    ],
)
def test_unknown_name_suggests_a_similar_one(wrong: str, right: str) -> None:
    name = wrong.partition("=")[0]
    assert message(wrong) == f"--set {wrong}: unknown setting {name}; did you mean {right}?"


def test_name_without_a_similar_one_lists_all_names() -> None:
    text = message("zzz.qqq=1")
    assert all(name in text for name in setting_names())


@pytest.mark.parametrize("name", ["train", "train.", ".epochs", "train.epochs.x", ""])
def test_invalid_names_are_refused(name: str) -> None:
    assert "unknown setting" in message(f"{name}=1")


@pytest.mark.parametrize(
    ("text", "starts"),
    [
        ("train.epochs=abc", "train.epochs=abc: Input should be a valid integer"),
        ("train.epochs=1.5", "train.epochs=1.5: Input should be a valid integer"),
        ("train.epochs=0", "train.epochs=0: Input should be greater than or equal to 1"),
        ("train.learning_rate=0", "train.learning_rate=0: Input should be greater than 0"),
        ("train.learning_rate=inf", "train.learning_rate=inf: Input should be a finite number"),
        ("train.learning_rate=nan", "train.learning_rate=nan: Input should be a finite number"),
        ("train.warmup_ratio=1.1", "train.warmup_ratio=1.1: Input should be less than or equal to 1"),
        ("input.max_rejected_frac=nan", "input.max_rejected_frac=nan: Input should be a finite number"),
        ("input.chunk_bytes=1023", "input.chunk_bytes=1023: Input should be greater than or equal to 1024"),
        (
            "labels.scheme=ternary",
            "labels.scheme=ternary: Input should be 'stars', 'sentiment', 'binary' or 'words'",
        ),
        ("labels.words=a,b", "labels: words=a,b needs labels.scheme=words; it is stars"),
        ("train.use_gpu=maybe", "train.use_gpu=maybe: Input should be a valid boolean"),
        ("tokenize.max_length=2", "tokenize.max_length=2: Input should be greater than or equal to 3"),
        ("model.name=5", "model.name=5: Input should be a valid string"),
        ('model.name=""', "model.name=: String should have at least 1 character"),
        ("input.text=[]", "input.text=[]: Value should have at least 1 item"),
        ("input.text=,", "input.text=,: Value should have at least 1 item"),
        ('input.text=["a",""]', "input.text=: String should have at least 1 character"),
        (
            "input.text=[a,b]",
            'input.text=[a,b]: not a TOML array; write ["a", "b"] (a shell removes quotes) or a,b',
        ),
        (
            "train.precision=float16",
            "train.precision=float16: Input should be 'auto', 'float32' or 'bfloat16'",
        ),
    ],
)
def test_invalid_value_is_shown(text: str, starts: str) -> None:
    assert message(text).startswith(starts)


def test_fractions_must_add_up_to_one() -> None:
    assert message("split.train_frac=0.7") == (
        "split: train_frac=0.7 + val_frac=0.1 + test_frac=0.1 is 0.9, not 1"
    )
    # Not rounded to "is 1, not 1".
    assert "is 1.0000001, not 1" in message("split.train_frac=0.8000001")
    load_config(sets=["split.train_frac=0.7", "split.val_frac=0.2", "split.test_frac=0.1"])


@pytest.mark.parametrize("empty", ["train_frac", "val_frac"])
def test_training_needs_rows_in_train_and_val(empty: str) -> None:
    other = "val_frac" if empty == "train_frac" else "train_frac"
    text = message(f"split.{empty}=0", f"split.{other}=0.9")
    assert text.startswith("split: train_frac=")
    assert "must both be above 0" in text


def test_test_split_is_optional() -> None:
    config = load_config(sets=["split.train_frac=0.9", "split.test_frac=0"])
    assert config.split.test_frac == 0


def test_unreadable_config_file_is_refused(tmp_path: Path) -> None:
    assert message(file="/no/such.toml") == "--config /no/such.toml: no such file"
    assert message(file=str(tmp_path)) == f"--config {tmp_path}: cannot be read (Is a directory)"
    bad = toml(tmp_path, "[train\nepochs = 1\n")
    assert message(file=bad).startswith(f"--config {bad}: not valid TOML: ")
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"[model]\nname = '\xe9'\n")
    assert message(file=str(latin)).startswith(f"--config {latin}: not valid TOML: ")


def test_unknown_name_in_a_file_suggests_a_similar_one(tmp_path: Path) -> None:
    file = toml(tmp_path, "[train]\nlearning_rat = 1\n")
    assert message(file=file) == (
        f"unknown setting train.learning_rat; did you mean train.learning_rate? (from {file} and --set)"
    )
    assert "unknown section trian; did you mean train?" in message(
        file=toml(tmp_path, "[trian]\nepochs = 1\n")
    )
    assert "unknown setting train.optimizer" in message(file=toml(tmp_path, "[train.optimizer]\nx = 1\n"))
    assert "unknown setting epochs; did you mean train.epochs?" in message(file=toml(tmp_path, "epochs = 1"))
    assert 'unknown section "train.epochs"; omit the quotes' in message(
        file=toml(tmp_path, "'train.epochs' = 1")
    )


def test_section_must_be_a_table(tmp_path: Path) -> None:
    file = toml(tmp_path, "train = 3\n")
    assert message(file=file) == f"train=3: [train] must be a table (from {file} and --set)"
    assert message("train.epochs=1", file=file) == message(file=file)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Config().train.epochs = 4  # type: ignore[misc]


def test_replace_changes_settings_and_validates_them() -> None:
    config = load_config(sets=["train.epochs=5"])
    other = config.replace(train__epochs=6, split__seed=1)
    assert (other.train.epochs, other.split.seed, config.train.epochs) == (6, 1, 5)
    assert other.replace(train__epochs=5, split__seed=0) == config
    with pytest.raises(ValidationError):
        config.replace(train__epochs=0)
    with pytest.raises(ValidationError):
        config.replace(split__train_frac=0.5)


def test_digests_differ_if_and_only_if_the_settings_differ() -> None:
    assert Config().digest() == load_config().digest()
    digests = {load_config(sets=[s]).digest() for s in ("train.seed=0", "train.seed=1", "split.seed=1")}
    assert len(digests) == 3
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 1.5})
    assert len(digest([])) == 16


def test_sections_are_plain_data() -> None:
    section = load_config(sets=["input.text=a,b"]).section("input", "labels")
    assert set(section) == {"input", "labels"}
    assert section["input"]["text"] == ["a", "b"]


def test_documented_setting_names_exist() -> None:
    relied_on = {
        "input": "text stars max_rows chunk_bytes max_rejected_frac verified_only",
        "labels": "scheme",
        "split": "by train_frac val_frac test_frac seed",
        "tokenize": "max_length",
        "train": "num_workers use_gpu epochs max_steps global_batch_rows learning_rate weight_decay"
        " warmup_ratio precision seed checkpoint_every_steps",
        "score": "num_actors precision batch_tokens",
        "cluster": "address storage_path",
    }
    names = {f"{section}.{key}" for section, keys in relied_on.items() for key in keys.split()}
    assert names <= set(setting_names())


def test_every_preset_is_valid() -> None:
    presets = sorted((Path(__file__).resolve().parents[1] / "jobs" / "configs").glob("*.toml"))
    assert presets
    for preset in presets:
        assert math.isfinite(load_config(str(preset)).train.learning_rate)


def test_one_set_may_contain_several_settings() -> None:
    config = load_config(sets=["input.text=title,body,input.stars=rank, split.seed=3"])
    assert (config.input.text, config.input.stars, config.split.seed) == (("title", "body"), "rank", 3)


@pytest.mark.parametrize("text", ["model.name=x,train.epoch=3", "train.epoch=3,model.name=x"])
def test_unknown_name_is_not_part_of_the_preceding_value(text: str) -> None:
    assert message(text) == "--set train.epoch=3: unknown setting train.epoch; did you mean train.epochs?"


def test_value_with_an_ambiguous_comma_needs_quotes() -> None:
    uri = "s3://b/x?a.b=c,d.e=f"
    assert message(f"cluster.storage_path={uri}").startswith(
        "--set d.e=f: unknown setting d.e; if it is part of the preceding value, quote that value; "
    )
    assert load_config(sets=[f'cluster.storage_path="{uri}"']).cluster.storage_path == uri


@pytest.mark.parametrize("words", ["good", "good,good"])
def test_words_must_be_at_least_two_and_distinct(words: str) -> None:
    found = message("labels.scheme=words,labels.words=" + words)
    assert found == f"labels: words={words}: name at least two, each once"
