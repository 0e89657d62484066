"""Files on a local disk or in an object store, as `Location`.

Add here: what concerns any file, whatever is in it: another store, reading ahead, a cache, an error in plain
words. Nothing here knows what rayview writes or that Ray exists.
"""
