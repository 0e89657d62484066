"""Steps of a scoring job that kill their process over one chunk. Workers import them from here by name."""

from __future__ import annotations

import os
from dataclasses import dataclass

from pipeline.ingest.chunks import Chunk
from pipeline.ingest.dataset import Batch
from pipeline.score.chunks import ChunkWork
from pipeline.score.predictor import Predictor

BAD_CHUNK = 1


class DeadlyPredictor(Predictor):
    """Dies over one chunk."""

    def _score(self, batch: Batch) -> Batch:
        if (batch.file, batch.chunk) == (0, BAD_CHUNK):
            os._exit(1)
        return super()._score(batch)


@dataclass(frozen=True)
class DeadlyWork(ChunkWork):
    """Dies over one chunk."""

    def encode(self, chunk: Chunk) -> Batch:
        if (chunk.file, chunk.chunk) == (0, BAD_CHUNK):
            os._exit(1)
        return super().encode(chunk)
