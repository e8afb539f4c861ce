"""From evidence to a verdict: the rules, quality, estimates and questions."""
