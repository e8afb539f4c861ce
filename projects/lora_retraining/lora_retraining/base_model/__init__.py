"""Find base models, and tell by digest if two are the same."""
