"""Find, make and load language models, and let them write."""
