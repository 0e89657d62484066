"""Ray and this process: connecting, sharing out CPUs and GPUs, datasets, crash counts, memory.

Add here: whatever touches the internals of Ray or the limits of a process; no other package does. Nothing
here knows what a job computes.
"""
