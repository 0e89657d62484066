"""Ray and this process: connecting, planning CPUs and GPUs, datasets, tasks, errors of workers, memory.

Add here: everything that uses internals of Ray (only in ray_internals and ray_data) or concerns the limits of
a process. Nothing here knows what a job computes.
"""
