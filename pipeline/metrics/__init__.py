"""Classification metrics from sums that merge: pure functions, without Ray and without PyTorch.

Add here: a metric, as a function of a `Tally` or of arrays. Every metric is compared with scikit-learn,
exactly or within a stated bound.
"""
