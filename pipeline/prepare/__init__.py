"""Dumps → data/{train,val,test}: token IDs and labels, split without leaks.

Add here: rules that decide which rows are kept, and in which split.
"""
