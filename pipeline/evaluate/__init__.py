"""The evaluate stage: scores/ → report/ with metrics, plots and an HTML page.

Add here: a plot, a table of the page, a baseline. Metrics belong in `pipeline.metrics`.
"""
