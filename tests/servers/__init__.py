"""Real servers for tests: PostgreSQL, S3, `mlflow server`, and a proxy that can cut the line to any of them.

All come from PyPI and run on free ports of this machine, as root or as anybody else.
"""
