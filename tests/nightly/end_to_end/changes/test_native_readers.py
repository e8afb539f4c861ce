"""Every native reader that `make test` leaves out: a changed file makes the phase that read it run again."""

import pytest

from tests.end_to_end.changes.conftest import changing, runs_after  # noqa: F401
from tests.end_to_end.changes.native import READERS
from tests.end_to_end.changes.test_reads import test_a_file_that_a_native_reader_opens as check

pytestmark = pytest.mark.end_to_end


@pytest.mark.parametrize("reader", sorted(set(READERS) - {"pandas_parquet", "numpy"}))
def test_a_file_that_a_native_reader_opens(changing, runs_after, reader):  # noqa: F811
    check(changing, runs_after, reader)
