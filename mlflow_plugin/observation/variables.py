"""Digest the values of environment variables."""

import hashlib


def variable_digest(value: str) -> str:
    """Return the sha256 of a variable's value, 64 hex digits: of its bytes as the process has them."""
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()
