"""Dumps or data/test → scores/: label and probabilities of every review.

Add here: code that turns logits into committed part files, or resumes or verifies a run. Computation of
logits belongs in `pipeline.model`.
"""
