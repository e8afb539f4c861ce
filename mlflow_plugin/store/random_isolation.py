"""Keep Python's global random generator for the user's script: store clients must not draw from it.

urllib3, botocore, s3transfer and MLflow draw retry pauses and names of temporary files from it. A store that is away
for a moment would otherwise change the training data that a script draws next.
"""

import importlib.util
import random
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

_LIBRARIES = (
    "urllib3.util.retry",
    "mlflow.utils.rest_utils",
    "mlflow.utils.request_utils",
    "mlflow.utils.name_utils",
    "mlflow.store.tracking.sqlalchemy_store",
)
_S3_LIBRARIES = ("botocore.retryhandler", "botocore.retries.standard", "botocore.utils", "s3transfer.utils")


def reserve_random_state(*artifact_uris: str) -> None:
    """Give the loaded store libraries, and those that artifacts at these addresses need, a generator of their own.

    Calling it again is harmless.
    """
    if any(uri.startswith("s3:") for uri in artifact_uris) and importlib.util.find_spec("boto3") is not None:
        for name in _S3_LIBRARIES:
            import_module(name)
    if standard := sys.modules.get("botocore.retries.standard"):
        _reserve_for_backoffs(standard.ExponentialBackoff)
    for name in (*_LIBRARIES, *_S3_LIBRARIES):
        module = sys.modules.get(name)
        if module is not None and getattr(module, "random", None) is random:
            module.random = _another()  # type: ignore[attr-defined]


def _reserve_for_backoffs(backoff: type[Any]) -> None:
    """Replace the generator of each backoff object, which keeps the function that it was made with."""
    own, delay_amount = _another(), backoff.delay_amount

    def delay(self: Any, context: object) -> object:
        if self._random == random.random:
            self._random = own.random
        return delay_amount(self, context)

    if not getattr(delay_amount, "reserved", False):
        delay.reserved = True  # type: ignore[attr-defined]
        backoff.delay_amount = delay


def _another() -> ModuleType:
    """Return a second copy of the module `random`, with a state of its own."""
    spec = importlib.util.find_spec("random")
    assert spec is not None
    assert spec.loader is not None
    own = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(own)
    return own
