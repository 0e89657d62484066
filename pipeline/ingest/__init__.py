"""From a file to token IDs: read, detect, parse, clean, tokenize; and the ledger of every line.

Add here: what prepare and score share before the model runs. One file format, rule or label scheme is one
entry in a subpackage; see their docstrings.
"""
