"""Dumps or data/test → scores/: label and probabilities of every review.

Add here: what turns logits into committed part files, resumes a run or verifies one. How logits are computed
belongs to `pipeline.model`.
"""
