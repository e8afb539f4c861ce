"""Describe the runs of each phase: what happened, what it means, and what it does not show."""
