"""Tests of both routes, here on MLflow's local backend.

Cheaper siblings: the tests of the same names in tests/end_to_end/routes/test_bad_input.py, by `-b phases`.
"""

from tests.end_to_end.routes import test_bad_input
from tests.nightly.repeated import repeated

globals().update(repeated(test_bad_input, "route"))
