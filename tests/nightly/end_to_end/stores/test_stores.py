"""`mlflow run` killed in mid-training, on the kinds of store that tests/end_to_end leaves out.

Cheaper sibling: the test of the same name in tests/end_to_end/stores/test_stores.py, on PostgreSQL and S3.
"""

import pytest

from tests.end_to_end.stores import test_stores
from tests.nightly.repeated import repeated

globals().update(repeated(test_stores, "here"))


@pytest.fixture(params=["local", "server", "server-s3"])
def store_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)
