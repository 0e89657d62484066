"""Kinds of files that are not dumps, recognized by their first bytes: what each is, and what to do with it.

Add here: a magic number in `magic.py`, or a pattern of a text file in `texts.py`.
"""
