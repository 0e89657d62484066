"""scores/ → report/: metrics, plots and a page."""
