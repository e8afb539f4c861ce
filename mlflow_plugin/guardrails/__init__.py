"""Checks while a phase computes: metrics that go wrong, and memory that runs out."""
