"""Dumps → data/{train,val,test}: token ids and labels, split without leaks."""
