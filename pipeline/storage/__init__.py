"""Files on a local disk or in an object store, as `Location`.

Add here: code that applies to any file regardless of its content: another store, read-ahead, a cache, a
readable error message. Nothing here depends on Ray or on the files that rayview writes.
"""
