"""Digest the values of environment variables."""

import hashlib
import os


def variable_digest(value: str) -> str:
    """Return the sha256 of a variable's value, 64 hex digits: of its bytes as the process has them."""
    return hashlib.sha256(os.fsencode(value)).hexdigest()
