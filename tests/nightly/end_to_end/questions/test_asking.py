"""Tests of both routes, here on MLflow's local backend.

Cheaper siblings: the tests of the same names in tests/end_to_end/questions/test_asking.py, by `-b phases`.
"""

from tests.end_to_end.questions import test_asking
from tests.nightly.repeated import repeated

globals().update(repeated(test_asking, "route"))
