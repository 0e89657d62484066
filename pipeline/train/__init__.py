"""data/ → model/: fine-tune a classifier on Ray Train.

Add here: code that changes how weights are learned. A new objective is a function in `objective`; another
kind of parallelism belongs in `parallel`. `task` holds plain data; `stage` imports torch only when training
starts.
"""
