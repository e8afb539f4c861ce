"""Retrain a language model with LoRA in full precision, in phases."""
