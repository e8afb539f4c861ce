"""Duplicate runs on the tracking stores that tests/end_to_end leaves out.

Cheaper siblings: the tests of the same names in tests/end_to_end/stores/test_duplicate_runs.py, on a tracking server.
"""

import pytest

from tests.end_to_end.stores import test_duplicate_runs
from tests.nightly.repeated import repeated

ON_SQLITE_ALREADY = (
    "test_of_three_that_were_told_to_compute_anew_at_once_one_does",
    "test_who_stood_still_for_too_long_and_wakes_overwrites_nothing_of_the_one_that_went_on",
    "test_who_waits_goes_by_the_process_that_computes_also_when_the_one_that_started_it_was_killed",
)

globals().update(repeated(test_duplicate_runs, "duplicates", without=ON_SQLITE_ALREADY))


@pytest.fixture(params=["sqlite", "postgres"])
def tracking(request: pytest.FixtureRequest) -> str:
    return str(request.param)
