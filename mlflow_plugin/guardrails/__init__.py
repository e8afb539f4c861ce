"""Checks while a phase computes: alarms on its metrics, and recovery when memory runs out."""
