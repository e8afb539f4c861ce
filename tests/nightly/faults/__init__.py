"""What can go wrong while a phase saves its state, done to it on purpose: `python -m tests.nightly.faults --help`."""
