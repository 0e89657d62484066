"""From the name of a model to logits, for training and scoring.

Add here: another encoder family, as a table of parameter names beside `bert_weights`; faster operations;
another way to batch. `options`, `ragged`, `card`, `hub` and `tokenizer` hold plain data and import no torch;
the driver, workers that only encode, and `--help` use only these. All other modules import torch.
"""
