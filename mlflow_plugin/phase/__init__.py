"""The phase as its script holds it."""
