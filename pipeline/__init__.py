"""The stages of rayview and their parts: prepare, train, score, evaluate."""

__version__ = "0.1.0"
