"""Damaged and inconsistent model directories are reported in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline.errors import ModelError
from pipeline.model.load import load_classifier
from pipeline.model.tokenizer import check_vocabulary, tokenizer_json


def test_tokenizer_must_match_the_weights(untrained: str, tmp_path: Path) -> None:
    shutil.copytree(untrained, tmp_path, dirs_exist_ok=True)
    tokenizer = tokenizer_json(tmp_path)
    check_vocabulary(tmp_path, tokenizer)
    config = json.loads((tmp_path / "config.json").read_text())
    size = config["vocab_size"] - 1
    (tmp_path / "config.json").write_text(json.dumps(config | {"vocab_size": size}))
    with pytest.raises(
        ModelError, match=f"produces IDs up to {size}, but its weights support only IDs below {size}"
    ):
        check_vocabulary(tmp_path, tokenizer)


def test_damaged_model_files_are_named(untrained: str, tmp_path: Path) -> None:
    shutil.copytree(untrained, tmp_path, dirs_exist_ok=True)
    tokenizer = tokenizer_json(tmp_path)
    with pytest.raises(ModelError, match="damaged tokenizer"):
        check_vocabulary(tmp_path, tokenizer[:1000])
    for content in ('{"vocab_size": ', "[]7"):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(ModelError, match=r"config\.json is missing or damaged"):
            check_vocabulary(tmp_path, tokenizer)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ModelError, match=r"config\.json is missing or damaged"):
        check_vocabulary(tmp_path, tokenizer)


def test_invalid_config_is_reported_with_the_field(untrained: str, tmp_path: Path) -> None:
    shutil.copytree(untrained, tmp_path / "model")
    file = tmp_path / "model" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_attention_heads": "x"}))
    said = r"as a classifier \(Validation error for field 'num_attention_heads': TypeError: .*'x'"
    with pytest.raises(ModelError, match=said):
        load_classifier(tmp_path / "model")


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 500])
def test_damaged_weights_are_reported(untrained: str, tmp_path: Path, content: bytes) -> None:
    shutil.copytree(untrained, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=rf"^model {tmp_path}/model: cannot be loaded .*\(.+\)$"):
        load_classifier(tmp_path / "model")
