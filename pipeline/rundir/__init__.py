"""Output directories: ownership, permitted files, and completeness.

Add here: files that every stage writes in the same way, such as run.json, manifest.json and part files.
Nothing here names a stage or reads rows.
"""
