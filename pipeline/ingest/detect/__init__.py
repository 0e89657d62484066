"""Detection of the format and the columns of a file, from a sample of it.

Add here: a rule by which a format is recognized, or a warning about a guess that may be wrong.
"""
