"""Which phases of a pipeline start when: needs, jobs, resources, and failures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_plugin.backends.schedule import Capacity, Schedule
from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.project import Phase, Resources

MACHINE = Capacity(4, 8 * 2**30, ("0", "1"))


def phase(name: str, *needs: str, **resources: float) -> Phase:
    return Phase(name, "true", {}, needs=needs, resources=Resources(**resources))


DIAMOND = (phase("a"), phase("b", "a"), phase("c", "a"), phase("d", "b", "c"))


def names(started: list) -> list[str]:
    return [one.name for one, _ in started]


def test_a_phase_starts_when_all_that_it_needs_has_ended_well():
    schedule = Schedule(DIAMOND, 4, MACHINE)
    assert names(schedule.startable()) == ["a"]
    assert names(schedule.startable()) == []
    schedule.ended("a", well=True)
    assert names(schedule.startable()) == ["b", "c"]
    schedule.ended("c", well=True)
    assert names(schedule.startable()) == []
    schedule.ended("b", well=True)
    assert names(schedule.startable()) == ["d"]


def test_each_phase_gets_gpus_of_its_own_and_they_are_given_back():
    schedule = Schedule([phase("a", gpus=1), phase("b", gpus=1), phase("c", gpus=2)], 4, MACHINE)
    assert [gpus for _, gpus in schedule.startable()] == [("0",), ("1",)]
    schedule.ended("a", well=True)
    assert names(schedule.startable()) == []
    schedule.ended("b", well=True)
    assert [gpus for _, gpus in schedule.startable()] == [("0", "1")]


@pytest.mark.parametrize(
    ("resources", "lacking"),
    [({"cpus": 5}, "5 cores, and there are 4"), ({"gpus": 3}, "3 GPUs"), ({"memory": 9 * 2**30}, "9 GiB of memory")],
)
def test_a_phase_that_needs_more_than_the_machine_has_is_refused(resources: dict, lacking: str):
    with pytest.raises(UsageError, match=f"b needs {lacking}"):
        Schedule([phase("a"), phase("b", **resources)], 2, MACHINE)


@pytest.mark.parametrize(("keep_going", "started"), [(True, ["c"]), (False, [])])
def test_after_a_failure_independent_phases_start_only_when_told_to_keep_going(keep_going: bool, started: list[str]):
    schedule = Schedule([phase("a"), phase("b", "a"), phase("c"), phase("d", "c")], 1, MACHINE, keep_going)
    assert names(schedule.startable()) == ["a"]
    schedule.ended("a", well=False)
    assert names(schedule.startable()) == started
    if keep_going:
        assert schedule.left() == {"b": "a"}
    else:
        assert schedule.left() == {"b": "a", "c": "a", "d": "a"}


@st.composite
def pipelines(draw: st.DrawFn) -> list[Phase]:
    count = draw(st.integers(1, 7))
    return [
        phase(
            f"p{number}",
            *(f"p{other}" for other in draw(st.sets(st.integers(0, number - 1)))) if number else (),
            cpus=draw(st.integers(0, 4)),
            gpus=draw(st.integers(0, 2)),
            memory=draw(st.integers(0, 8)) * 2**30,
        )
        for number in range(count)
    ]


@given(pipelines(), st.integers(1, 4), st.booleans(), st.data())
def test_whatever_ends_when_nothing_is_started_twice_too_early_or_beyond_the_machine(
    phases: list[Phase], jobs: int, keep_going: bool, data: st.DataObject
):
    schedule = Schedule(phases, jobs, MACHINE, keep_going)
    started: set[str] = set()
    while True:
        for one, gpus in schedule.startable():
            assert one.name not in started
            assert set(one.needs) <= schedule.done
            assert len(gpus) == one.resources.gpus
            started.add(one.name)
        running = [one for one in phases if one.name in schedule.running]
        assert len(running) <= jobs
        assert sum(one.resources.cpus for one in running) <= MACHINE.cpus
        assert sum(one.resources.memory for one in running) <= MACHINE.memory
        used = [gpu for gpus in schedule.running.values() for gpu in gpus]
        assert len(used) == len(set(used)) <= 2
        if not running:
            break
        ends = data.draw(st.sampled_from(running))
        schedule.ended(ends.name, well=data.draw(st.booleans()))
    assert {*schedule.done, *schedule.failed, *schedule.left()} == {one.name for one in phases}
