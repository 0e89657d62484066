"""Synthetic review dumps for the demo, the tests and the benchmarks.

Their statistics (star shares, lengths, duplicates, growth and head of the vocabulary, predictability of stars
from text) follow the first 15,000 rows of the 2018 fashion dump. Their words were written for this project.

Add here: a property of real dumps that a test or a benchmark depends on.
"""

from pipeline.synth.broken import KINDS
from pipeline.synth.claim import claim
from pipeline.synth.dump import WrittenDump, write_dump
from pipeline.synth.formats import FORMATS, fields_2014, fields_2018, fields_2023
from pipeline.synth.reviews import BLOCK_ROWS, Review, iter_reviews
from pipeline.synth.shards import DumpSpec

__all__ = [
    "BLOCK_ROWS",
    "FORMATS",
    "KINDS",
    "DumpSpec",
    "Review",
    "WrittenDump",
    "claim",
    "fields_2014",
    "fields_2018",
    "fields_2023",
    "iter_reviews",
    "write_dump",
]
