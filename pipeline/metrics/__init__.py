"""Classification metrics from mergeable sums: pure functions, without Ray or PyTorch.

Add here: a metric, as a function of a `Tally` or of arrays. Tests compare every metric with scikit-learn,
exactly or within a documented bound.
"""
