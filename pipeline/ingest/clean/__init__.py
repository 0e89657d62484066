"""Cleaning of parsed records: text normalization, filters and labels.

Add here: a label scheme, as one entry in `labels`; a rule that changes text or rejects a row.
"""
