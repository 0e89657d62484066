"""From a file to token IDs: read, detect, parse, clean, tokenize; and the ledger of every line.

Add here: code that prepare and score share and that runs before the model. A new file format, cleaning rule
or label scheme is one entry in a subpackage; see their docstrings.
"""
