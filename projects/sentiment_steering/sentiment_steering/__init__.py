"""Steer the sentiment of what a language model writes by unitary operators on its hidden states."""
