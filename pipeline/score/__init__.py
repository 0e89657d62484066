"""Dumps or data/test → scores/: label and probabilities of every review."""
