"""Merge a LoRA adapter into its full-precision base, tensor by tensor, and verify the result."""
