"""`mlflow-phases gc` on the kinds of store that tests/end_to_end leaves out.

Cheaper sibling: the test of the same name in tests/end_to_end/stores/test_gc.py, on S3.
"""

import pytest

from tests.end_to_end.stores import test_gc
from tests.nightly.repeated import repeated

globals().update(repeated(test_gc, "store_kind"))


@pytest.fixture(params=["local", "server", "server-s3"])
def store_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)
