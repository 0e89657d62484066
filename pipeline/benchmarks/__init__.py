"""Benchmarks of `jobs.bench`; they need the extra `dev`.

Add here: a measurement of a new capability, next to the alternative that it replaces.
"""
