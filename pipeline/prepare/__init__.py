"""Dumps → data/{train,val,test}: token IDs and labels, split without leaks.

Add here: what decides which rows are kept and in which split they are.
"""
