"""Which format and which columns a file has, from a sample of it.

Add here: a sign by which a format is recognized, or a warning about a guess that may be wrong.
"""
