"""From text to the token IDs that the Hugging Face tokenizer gives.

Add here: a faster path for a kind of tokenizer, chosen by the components of tokenizer.json and never by a
name. Its IDs must equal those of the tokenizer.
"""
