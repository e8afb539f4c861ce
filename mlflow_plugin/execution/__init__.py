"""Execute a verdict and record what happens."""
