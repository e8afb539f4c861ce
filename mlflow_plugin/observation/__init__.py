"""Observe what a phase reads while it runs, keep it as a trace, and compare a trace with what lies here now."""
