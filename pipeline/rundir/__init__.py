"""One output directory: who owns it, what it may hold, and whether it is complete.

Add here: what every stage writes in the same way, as run.json, manifest.json and part files. Nothing here
names a stage or looks into rows.
"""
