"""data/ → model/: fine-tune a classifier on Ray Train."""
