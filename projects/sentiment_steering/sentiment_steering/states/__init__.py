"""Collect hidden states of labelled sentences and encode them as complex unit vectors."""
