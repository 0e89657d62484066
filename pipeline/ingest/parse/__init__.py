"""From chunks to typed tables and rejected lines.

Add here: a dump format, as one entry in `formats`; another syntax, as a module that gives records; a reason
for which a line is rejected.
"""
