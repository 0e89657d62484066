"""Models for training and scoring, from their names to logits.

Add here: another encoder family, as an entry in `families`; faster operations; another batching method.
`card`, `classifier`, `families`, `foreign`, `hub`, `options`, `ragged` and `tokenizer` do not import torch.
The driver, workers that only encode, and `--help` use only these. All other modules import torch.
"""
