"""scores/ → report/: metrics, plots and a page.

Add here: a plot, a table of the page, a baseline. The metrics themselves belong to `pipeline.metrics`.
"""
