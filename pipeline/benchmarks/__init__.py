"""What `jobs.bench` measures; needs the extra `dev`.

Add here: a measurement of a new capability, side by side with what it replaces.
"""
