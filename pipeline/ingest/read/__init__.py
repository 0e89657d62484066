"""From a file to line-aligned chunks of bytes: decompress and cut.

Add here: another compression, or another rule for where a record ends. Nothing here parses a record.
"""
