"""Backends: each decides first, and starts a process only when there is something to compute."""
