"""Data, models, statistics and a sandbox that the projects share."""
