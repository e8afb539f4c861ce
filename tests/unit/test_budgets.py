"""The report on the price of the tests."""

from tests.budgets import Cost, folder_of, report_lines


def test_a_test_counts_for_its_folder_and_a_projects_test_for_its_project() -> None:
    assert folder_of("tests/unit/store/test_lock.py::test_it[a/b]") == "tests/unit"
    assert folder_of("tests/projects/common/test_it.py::test_it") == "tests/projects/common"


def test_a_folder_is_told_against_its_budget_and_the_costliest_tests_come_last() -> None:
    lines = report_lines(
        {
            "tests/unit/test_a.py::test_quick": Cost(0.01, 0.01),
            "tests/unit/test_a.py::test_slow": Cost(199.99, 20.0),
            "tests/nightly/test_b.py::test_long": Cost(500.0, 400.0),
        }
    )
    assert lines == [
        "tests/nightly: 1 tests, 500 s (400 s of CPU), so 250 s on 2 cores",
        "tests/unit: 2 tests, 200 s (20 s of CPU), so 100 s on 2 cores of 90 s (OVER); 1 over 0.2 s a test",
        "  500.0 s (400.0 of CPU)  tests/nightly/test_b.py::test_long",
        "  200.0 s (20.0 of CPU)  tests/unit/test_a.py::test_slow",
    ]
