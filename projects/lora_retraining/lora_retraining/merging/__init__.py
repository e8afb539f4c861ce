"""Merging a LoRA adapter into its full-precision base, tensor by tensor, and seeing that it came out right."""
