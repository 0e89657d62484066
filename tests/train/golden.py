"""A fixed training run of 30 steps, whose losses must not change unless a commit says so.

`python -m tests.train.golden` prints the losses in hexadecimal, to compare two commits bit for bit on one
machine, and as the literals for `test_golden.py`.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import TrainConfig
from pipeline.train.batches import Epoch
from pipeline.train.parallel import Workers
from pipeline.train.streams import list_row_groups
from pipeline.train.task import TrainTask
from pipeline.train.trainer import Trainer

LABELS = ["low", "mid", "high"]
VOCABULARY, MAX_LENGTH = 50, 12
CONFIG = TrainConfig(
    epochs=3,
    global_batch_rows=16,
    learning_rate=2e-3,
    layer_lr_decay=0.8,
    head_lr_factor=3.0,
    weight_decay=0.1,
    average_decay=0.9,
    precision="float32",
    seed=11,
)
STEPS = 30


def write_model(folder: Path, dropout: float = 0.0) -> None:
    """Write a BERT of two layers with fixed random weights."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=MAX_LENGTH,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    BertModel(config).save_pretrained(folder)


def write_split(folder: Path, rows: int, seed: int) -> list[str]:
    """Write encoded rows in parts of 40; the first token of a row determines its label."""
    rng = np.random.default_rng(seed)
    parts = []
    for first in range(0, rows, 40):
        ids = [
            rng.integers(5, VOCABULARY, int(rng.integers(2, MAX_LENGTH + 1)))
            for _ in range(min(40, rows - first))
        ]
        labels = np.array([(int(row[0]) - 5) * 3 // (VOCABULARY - 5) for row in ids], np.int32)
        table = pa.table({"input_ids": pa.array(ids, pa.list_(pa.int32())), "label": pa.array(labels)})
        parts.append(str(folder / f"{seed}-{first}.parquet"))
        pq.write_table(table, parts[-1])
    return parts


def write_golden(folder: Path, dropout: float = 0.0) -> TrainTask:
    """Write the model and the training rows to a folder."""
    write_model(folder / "model", dropout)
    return TrainTask(
        model=str(folder / "model"),
        labels=LABELS,
        max_length=MAX_LENGTH,
        train_groups=list_row_groups(write_split(folder, 157, seed=1)),
        val_parts=write_split(folder, 50, seed=2),
        config=CONFIG,
        precision="float32",
        threads=1,
    )


def train_golden(folder: Path) -> tuple[list[float], dict[str, float]]:
    """The loss of each step (sum over its rows), and the validation metrics after the last step."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    task = write_golden(folder)
    try:
        workers = Workers(rank=0, world=1, device=torch.device("cpu"))
        trainer = Trainer(task, workers, save=lambda _: None, report_progress=lambda *_: None)
        assert task.total_steps == STEPS
        losses = []
        for epoch in range(CONFIG.epochs):
            order = Epoch(task.train_groups, CONFIG.global_batch_rows, CONFIG.seed, epoch)
            losses += [trainer.step(batch) for batch in order.batches(workers.rank, workers.world)]
        assert trainer.average is not None
        with trainer.average.swapped_in():
            metrics = trainer.evaluate()
        return losses, metrics
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    with TemporaryDirectory() as place:
        steps, validation = train_golden(Path(place))
    for loss in [*steps, *validation.values()]:
        print(float(loss).hex())  # noqa: T201
    print([float(f"{loss:.7g}") for loss in steps])  # noqa: T201
    print({name: float(f"{value:.7g}") for name, value in validation.items()})  # noqa: T201
