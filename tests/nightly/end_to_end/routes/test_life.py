"""Tests of both routes, here on MLflow's local backend.

Cheaper siblings: the tests of the same names in tests/end_to_end/routes/test_life.py, by `-b phases`.
"""

from tests.end_to_end.routes import test_life
from tests.nightly.repeated import repeated

globals().update(repeated(test_life, "route"))
