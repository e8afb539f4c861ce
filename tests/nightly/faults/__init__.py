"""Faults while a phase saves its state, provoked on purpose: `python -m tests.nightly.faults --help`."""
