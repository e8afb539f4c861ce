"""Objective grading: final answers compared as values, code run against its tests in a confined child process."""
