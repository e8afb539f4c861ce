"""Carries a verdict out and records what happens."""
