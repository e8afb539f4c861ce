"""Checkpoints: a state as files that run no code when they are read, when to save one, and where it is kept."""
