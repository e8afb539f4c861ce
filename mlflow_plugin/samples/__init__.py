"""Small real models and data for examples and tests, out of released packages. The plugin itself needs none."""
