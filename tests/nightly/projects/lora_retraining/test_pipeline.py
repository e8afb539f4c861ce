"""Another learning rate of the second round, in the whole project under MLflow.

Cheaper sibling: the test of reuse in tests/projects/lora_retraining/test_pipeline.py.
"""

from tests.projects.lora_retraining.test_pipeline import PHASES, verdicts_of


def test_another_learning_rate_computes_only_the_phases_that_depend_on_it(store: str) -> None:
    verdicts = verdicts_of(store, {}, {"failure_learning_rate": "0.015", "decide": "rerun"})
    first, second = [(name, "run") for name in PHASES], [(name, "reuse") for name in PHASES]
    assert verdicts == [*first, *second[:5], *first[5:]]
