"""Reading of files as line-aligned chunks of bytes: decompress and cut.

Add here: another compression, or another rule for where a record ends. Records are not parsed here.
"""
