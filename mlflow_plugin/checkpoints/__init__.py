"""Checkpoints: their file format (reading it executes no code), the schedule of saves, storage and retention."""
