"""data/ → model/: fine-tune a classifier on Ray Train.

Add here: what changes how weights are learned.
"""
