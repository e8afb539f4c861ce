"""Phases in the training loops of other libraries.

Each module imports its library. Therefore the plugin itself imports none of them.
"""
