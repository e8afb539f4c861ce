"""The files that phases leave in the project's folder: stored with their run, and put back when another run counts."""
