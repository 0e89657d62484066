"""Benchmarks of `jobs.bench`; they need the extra `dev`.

Add here: a measurement of a new capability, compared with the alternative that it replaces.
"""
