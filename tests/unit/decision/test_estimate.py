"""Estimates rest on like runs, scale with declared sizes, and are told in words a person reads at a glance."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_plugin.decision.estimate import Estimate, PastRun, estimate
from mlflow_plugin.format import describe_cost, describe_duration

HERE, ELSEWHERE = "1 x NVIDIA L4", "AMD EPYC, 2 cores"

sizes = st.floats(0.01, 1e6)
durations = st.floats(0, 1e6)


@st.composite
def runs(draw: st.DrawFn, key: str) -> PastRun:
    size = draw(st.dictionaries(st.sampled_from(["epochs", "pairs"]), sizes))
    return PastRun(draw(durations), key, size, draw(st.none() | st.floats(0, 1e4)))


def test_nothing_known_is_no_estimate() -> None:
    assert estimate([], HERE, {"epochs": 1}) is None
    assert estimate([PastRun(float("nan"), HERE, {}), PastRun(-5.0, HERE, {})], HERE, {}) is None


def test_one_run_is_its_own_estimate() -> None:
    assert estimate([PastRun(660.0, HERE, {}, 0.16)], HERE, {}) == Estimate(660.0, 660.0, 660.0, 1, True, 0.16)


def test_several_runs_give_median_and_range() -> None:
    past = [PastRun(seconds, HERE, {}) for seconds in (30.0, 10.0, 50.0, 20.0)]
    assert estimate(past, HERE, {}) == Estimate(25.0, 10.0, 50.0, 4, True)


def test_only_the_ten_newest_count() -> None:
    past = [PastRun(10.0, HERE, {})] * 10 + [PastRun(9000.0, HERE, {})] * 20
    assert estimate(past, HERE, {}) == Estimate(10.0, 10.0, 10.0, 10, True)


def test_runs_on_other_hardware_are_used_only_when_there_are_no_others_and_flagged() -> None:
    other = PastRun(600.0, ELSEWHERE, {})
    assert estimate([other], HERE, {}) == Estimate(600.0, 600.0, 600.0, 1, False)
    assert estimate([other] * 30 + [PastRun(60.0, HERE, {})], HERE, {}) == Estimate(60.0, 60.0, 60.0, 1, True)


def test_sizes_multiply() -> None:
    past = [PastRun(10.0, HERE, {"epochs": 10, "pairs": 50}, 1.0)]
    found = estimate(past, HERE, {"epochs": 100, "pairs": 100})
    assert found == Estimate(200.0, 200.0, 200.0, 1, True, 20.0)


@pytest.mark.parametrize("old", [{}, {"epochs": 0}, {"epochs": -3}, {"epochs": float("inf")}, {"other": 5}])
def test_a_size_that_cannot_be_compared_does_not_scale(old: dict[str, float]) -> None:
    found = estimate([PastRun(10.0, HERE, old)], HERE, {"epochs": 7})
    assert found is not None
    assert found.seconds == 10.0


def test_a_new_size_of_zero_does_not_scale_to_nothing() -> None:
    found = estimate([PastRun(10.0, HERE, {"epochs": 5})], HERE, {"epochs": 0})
    assert found is not None
    assert found.seconds == 10.0


@given(past=st.lists(runs(HERE), min_size=1, max_size=15), epochs=sizes)
def test_doubling_a_size_doubles_the_estimate(past: list[PastRun], epochs: float) -> None:
    past = [run._replace(size={"pairs": 3.0, "epochs": 2.0} | dict(run.size)) for run in past]
    once = estimate(past, HERE, {"epochs": epochs})
    twice = estimate(past, HERE, {"epochs": 2 * epochs})
    assert once is not None
    assert twice is not None
    assert twice[:3] == pytest.approx([2 * value for value in once[:3]])
    assert (twice.cost_usd is None) == (once.cost_usd is None)
    assert twice.cost_usd is None or twice.cost_usd == pytest.approx(2 * (once.cost_usd or 0))


@given(
    alike=st.lists(runs(HERE), min_size=1, max_size=5),
    other=st.lists(runs(ELSEWHERE), max_size=12),
    data=st.data(),
)
def test_runs_on_other_hardware_do_not_matter_when_like_ones_exist(
    alike: list[PastRun], other: list[PastRun], data: st.DataObject
) -> None:
    where = data.draw(st.integers(0, len(other)))
    shuffled = data.draw(st.permutations(other))
    mixed = [*shuffled[:where], *alike, *shuffled[where:]]
    assert estimate(mixed, HERE, {"epochs": 4}) == estimate(alike, HERE, {"epochs": 4})


@given(past=st.lists(runs(HERE) | runs(ELSEWHERE), min_size=1, max_size=20), size=st.dictionaries(st.text(), sizes))
def test_the_median_lies_within_the_range(past: list[PastRun], size: dict[str, float]) -> None:
    found = estimate(past, HERE, size)
    assert found is not None
    assert found.low <= found.seconds <= found.high
    assert 1 <= found.runs <= 10


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "less than 1 s"),
        (48, "48 s"),
        (59.6, "1 min"),
        (90, "1 min 30 s"),
        (599.7, "10 min"),
        (660, "11 min"),
        (3599, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (57600, "16 h 00 min"),
        (200_000, "2 d 08 h"),
        (float("nan"), "unknown"),
        (float("inf"), "unknown"),
    ],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert describe_duration(seconds) == text


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (0, "$0"),
        (0.0099, "< $0.01"),
        (0.01, "$0.01"),
        (0.43, "$0.43"),
        (2.5, "$2.50"),
        (9.999, "$10"),
        (30, "$30"),
        (1234.4, "$1,234"),
        (float("nan"), "unknown"),
    ],
)
def test_costs_read_well(usd: float, text: str) -> None:
    assert describe_cost(usd) == text
