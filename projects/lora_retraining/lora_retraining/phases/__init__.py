"""The phases: arguments, one import of the work, outputs."""
