"""What runs inside observed processes: its folder stands on their PYTHONPATH.

The package itself imports of it the list of variables that do not count, and nothing else.
"""
