"""What runs inside observed processes. Its folder stands on their PYTHONPATH; the package itself imports none of it."""
