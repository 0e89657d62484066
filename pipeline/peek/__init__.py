"""Examination of dumps without Ray: what a file contains, and the command that reads it.

Add here: a fact about a file that can be computed from a sample in less than a second.
"""
