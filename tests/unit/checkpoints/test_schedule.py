import pytest

from mlflow_plugin.checkpoints.schedule import CheckpointSchedule
from mlflow_plugin.errors import UsageError

MINUTES = 60.0


@pytest.mark.parametrize(
    ("expected", "step", "since_last", "last_cost", "due"),
    [
        # below 10 minutes, or unknown: at each step
        (None, 1, 9, 0, False),
        (None, 1, 10, 0, True),
        (9 * MINUTES, 10, 9, 0, False),
        (9 * MINUTES, 7, 10, 0, True),
        # 10 to 30 minutes: every 10 steps
        (10 * MINUTES, 10, 15, 0, True),
        (30 * MINUTES, 20, 15, 0, True),
        (30 * MINUTES, 5, 15, 0, False),
        (20 * MINUTES, 11, 300, 0, False),
        # above 30 minutes: every 5 steps
        (31 * MINUTES, 5, 15, 0, True),
        (31 * MINUTES, 15, 15, 0, True),
        (31 * MINUTES, 6, 15, 0, False),
        # never within 10 seconds
        (20 * MINUTES, 10, 9, 0, False),
        (600 * MINUTES, 5, 9, 0, False),
        # steps so long that much would be lost
        (20 * MINUTES, 3, 10 * MINUTES, 0, True),
        (600 * MINUTES, 1, 10 * MINUTES, 0, True),
        (600 * MINUTES, 1, 10 * MINUTES - 1, 0, False),
        # no more than 2% of the time
        (20 * MINUTES, 10, 100, 2.0, True),
        (20 * MINUTES, 10, 99, 2.0, False),
        (600 * MINUTES, 5, 10 * MINUTES, 13.0, False),
        (None, 1, 60, 1.3, False),
        # before the first step there is nothing to save
        (60 * MINUTES, 0, 1000, 0, False),
    ],
)
def test_when_a_checkpoint_is_due(expected, step, since_last, last_cost, due):
    schedule = CheckpointSchedule(expected, None)
    assert schedule.due(step, now=5000.0 + since_last, last_saved_at=5000.0, last_cost_seconds=last_cost) is due


@pytest.mark.parametrize("expected", [None, 5 * MINUTES, 20 * MINUTES, 300 * MINUTES])
def test_explicit_interval_replaces_the_rules(expected):
    schedule = CheckpointSchedule(expected, every=3)
    assert [step for step in range(10) if schedule.due(step, step, step, 100.0)] == [3, 6, 9]


@pytest.mark.parametrize("every", [0, -1])
def test_an_interval_below_one_step_is_refused(every):
    with pytest.raises(UsageError, match="`every` must be at least 1 step, got"):
        CheckpointSchedule(None, every)


@pytest.mark.parametrize("step_seconds", [0.01, 1.0, 30.0, 700.0])
@pytest.mark.parametrize("cost", [0.001, 1.0, 20.0])
def test_saving_never_takes_more_than_two_percent(step_seconds, cost):
    schedule = CheckpointSchedule(3600.0, None)
    now = saved_at = last_cost = spent = 0.0
    for step in range(1, 2000):
        now += step_seconds
        if schedule.due(step, now, saved_at, last_cost):
            now += cost
            spent, saved_at, last_cost = spent + cost, now, cost
    assert spent - cost <= 0.02 * now
