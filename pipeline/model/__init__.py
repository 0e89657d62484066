"""From the name of a model to logits, for training and scoring.

Add here: another encoder family, as a table of parameter names beside `bert_weights`; faster operations;
another way to batch. `ragged`, `card`, `hub` and `tokenizer` hold plain data and import no torch: workers
that only encode, and `--help`, use no other module of this package.
"""
