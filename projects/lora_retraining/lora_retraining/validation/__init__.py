"""Validate a merged model: its answers, their grades, and gates that decide by intervals."""
