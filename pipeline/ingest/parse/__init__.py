"""Parsing of chunks to typed tables and rejected lines.

Add here: a dump format, as one entry in `formats`; another syntax, as a module that parses it; a reason for
rejecting a line.
"""
