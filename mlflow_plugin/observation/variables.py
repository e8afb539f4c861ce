"""Environment variables: which ones count, and the digest of their values."""

import hashlib
import os

from mlflow_plugin.observation.injected._mlflow_phases_variables import is_set_by_others
from mlflow_plugin.observation.places import Places


def counts_as_variable(name: str, places: Places) -> bool:
    """Return True for an environment variable that no launcher, scheduler, shell or named root accounts for."""
    return not is_set_by_others(name) and name not in places.variables


def variable_digest(value: str) -> str:
    """Return the sha256 of a variable's value, 64 hex digits: of its bytes as the process has them."""
    return hashlib.sha256(os.fsencode(value)).hexdigest()
