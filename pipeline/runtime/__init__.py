"""Ray and process management: connection, CPU and GPU plans, datasets, tasks, worker errors, memory.

Add here: code that uses internals of Ray (only in ray_internals and ray_data) or concerns the limits of a
process. Nothing here knows what a job computes.
"""
