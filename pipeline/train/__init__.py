"""data/ → model/: fine-tune a classifier on Ray Train.

Add here: what changes how weights are learned. A new objective is a function in `objective`, another way to
share the work is in `parallel`. `task` holds plain data; `stage` imports no torch before training starts.
"""
