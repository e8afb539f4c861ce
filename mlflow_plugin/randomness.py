"""Python's global random generator is the script's: what talks to stores beside it must not draw from it.

urllib3, botocore, s3transfer and MLflow draw the pauses between retries and the names of temporary files from it. A
store that does not answer for a moment would so change the training data that a script draws next.
"""

import importlib.util
import random
import sys
from importlib import import_module
from types import ModuleType

_LIBRARIES = (
    "urllib3.util.retry",
    "mlflow.utils.rest_utils",
    "mlflow.utils.request_utils",
    "mlflow.utils.name_utils",
    "mlflow.store.tracking.sqlalchemy_store",
)
_S3_LIBRARIES = ("botocore.retryhandler", "s3transfer.utils")


def reserve_random_state(artifact_uri: str = "") -> None:
    """Gives the libraries that are loaded by now, and those that artifacts at this address will need, a generator of
    their own. Calling it again is harmless.
    """
    if artifact_uri.startswith("s3:") and importlib.util.find_spec("boto3") is not None:
        for name in _S3_LIBRARIES:
            import_module(name)
        backoff = import_module("botocore.retries.standard").ExponentialBackoff.__init__
        # Bound as a default, it is not looked up in the module again.
        defaults = (_another().random if value == random.random else value for value in backoff.__defaults__)
        backoff.__defaults__ = tuple(defaults)
    for name in (*_LIBRARIES, *_S3_LIBRARIES):
        module = sys.modules.get(name)
        if module is not None and getattr(module, "random", None) is random:
            module.random = _another()  # type: ignore[attr-defined]


def _another() -> ModuleType:
    """The module `random` once more, with a state of its own."""
    found = importlib.util.find_spec("random")
    assert found is not None
    assert found.loader is not None
    own = importlib.util.module_from_spec(found)
    found.loader.exec_module(own)
    return own
