"""Conversion of text to the same token IDs as the Hugging Face tokenizer, many times faster.

Add here: a faster path for a kind of tokenizer, selected by the components of tokenizer.json and never by a
model name. Its IDs must equal those of the tokenizer.
"""
