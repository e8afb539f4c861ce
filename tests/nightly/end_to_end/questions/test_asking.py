"""Tests of both routes, here on MLflow's local backend.

Cheaper siblings: the tests of the same names in tests/end_to_end/questions/test_asking.py, by `-b phases`.
"""

from tests.end_to_end.questions import test_asking
from tests.nightly.repeated import repeated

# Both routes of the question at a terminal are tested at every run.
TERMINAL = "test_a_person_at_a_terminal_is_asked_again_until_the_answer_is_a_letter"

globals().update(repeated(test_asking, "route", without=(TERMINAL,)))
