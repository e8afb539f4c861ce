"""What other tools, people and attackers leave in the store stops nobody, is named, and is never taken for a good run.

Each test looks at a sample. `tests/nightly/store/test_nonsense.py` goes through every place and every value.
"""

import json
from collections.abc import Iterator
from itertools import islice

import pytest
from nonsense import Nonsense
from nonsensical import NUMBERS, TEXTS, Place, is_vital
from simulation import Simulation

from mlflow_plugin.decision.lookup import find_reusable
from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.judging import Gate
from mlflow_plugin.store import schema
from mlflow_plugin.testing import temporary_store

_CROWD = 30
"""With the runs of the project fewer than are read at once, so that none is passed over."""


@pytest.fixture(scope="module")
def nonsense(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nonsense]:
    """Yield the demo project with a store to put nonsense into, which each test finds as it was made."""
    folder = tmp_path_factory.mktemp("nonsense")
    with temporary_store(folder / "store") as store, Nonsense(Simulation(folder / "demo", store.uri), folder) as made:
        yield made


def test_a_crowd_of_nonsensical_runs_stops_nothing_and_shows_nothing_raw(nonsense: Nonsense) -> None:
    """Put nonsense into every place of a run, and every value into some place, a run for each."""
    places = [place for place in nonsense.places() if place.kind != "experiment tag"]
    values = [list(nonsense.values(place).values()) for place in places]
    planted = iter(
        [(place, some[5 * n % len(some)]) for n, (place, some) in enumerate(zip(places, values, strict=True))]
    )
    while crowd := list(islice(planted, _CROWD)):
        with nonsense.crowd(crowd):
            nonsense.look(but=("run", "plan --json", "status --json", "explain", "compare 1", "compare 2", "compare 3"))


VITAL = [schema.COMPLETED_AT, schema.FINGERPRINT, schema.OUTPUTS, schema.READS, schema.VALUES, "phase.input.collect"]
SOME = ["empty", "escapes", "5000 digits", "list of lists", "leads out", "deep"]


@pytest.mark.parametrize(("key", "name"), list(zip(VITAL, SOME, strict=True)))
def test_a_run_with_nonsense_that_counts_is_not_reused_and_named(nonsense: Nonsense, key: str, name: str) -> None:
    place = Place("tag", key)
    assert is_vital(place, name)
    with nonsense.planted((place, TEXTS[name])):
        verdict = find_reusable(nonsense.demo.folder, "train")
        assert verdict.run_id != nonsense.runs["good"], verdict
        named = f"train {nonsense.runs['good'][:8]} cannot be used: its tag {key}"
        assert any(reason.startswith(named) for reason in verdict.reasons), verdict.reasons
        assert named in nonsense.look(only=["status"])["status"]


@pytest.mark.parametrize("metric", ["fidelity", "held_out"])
@pytest.mark.parametrize("name", ["infinity", "largest", "nan"])
def test_a_metric_that_is_no_finite_number_makes_no_run_good(nonsense: Nonsense, metric: str, name: str) -> None:
    with nonsense.planted((Place("metric", metric), NUMBERS[name])):
        assert find_reusable(nonsense.demo.folder, "train").action != "reuse"


def test_a_gate_for_being_different_fails_for_a_metric_that_is_no_number(nonsense: Nonsense) -> None:
    gate = Gate.parse("held_out != 0.5")
    with nonsense.planted((Place("metric", "held_out"), NUMBERS["nan"])):
        metrics = nonsense.demo.run(nonsense.runs["good"]).metrics
    assert gate.failure(metrics) == "gate 'held_out != 0.5' failed: nan against 0.5"


def test_nonsense_that_says_nothing_about_the_result_costs_no_work_and_is_mentioned(nonsense: Nonsense) -> None:
    with nonsense.planted((Place("tag", schema.HEARTBEAT), "[" * 900), (Place("time", "start_time"), 10**18)):
        verdict = find_reusable(nonsense.demo.folder, "train")
        assert (verdict.action, verdict.run_id) == ("reuse", nonsense.runs["good"])
        mentioned = verdict.reasons[-1]
    assert mentioned.startswith(f"of train {nonsense.runs['good'][:8]} was left out: ")
    assert (schema.HEARTBEAT in mentioned, "start time" in mentioned) == (True, True)


def test_an_input_of_which_all_runs_are_nonsense_is_named_with_the_reason(nonsense: Nonsense) -> None:
    collect = nonsense.runs["collect"]
    with nonsense.planted((Place("tag", schema.COMPLETED_AT, "collect"), "+31690708-07-05T00:00:00+00:00")):
        verdict = find_reusable(nonsense.demo.folder, "train")
    assert (verdict.action, verdict.kind) == ("run", "missing")
    assert any(f"collect {collect[:8]} cannot be used: its tag phase.completed_at" in one for one in verdict.reasons)


def test_a_run_that_an_index_lists_for_a_phase_and_that_names_another_is_unusable(nonsense: Nonsense) -> None:
    with nonsense.planted((Place("tag", schema.NAME), "\x1b[2J")):
        verdict = find_reusable(nonsense.demo.folder, "train")
        assert verdict.action != "reuse"
        assert any("is listed as a run of train, and names itself 'U+001B[2J'" in one for one in verdict.reasons)
        nonsense.look(but=["run"])


def test_a_run_to_which_the_pointer_leads_and_that_names_another_project_stops_no_pipeline(nonsense: Nonsense) -> None:
    with nonsense.planted((Place("tag", schema.PROJECT), "another")):
        shown = nonsense.look(only=["plan", "status"])
    assert "names itself 'train' of the project 'another'" in shown["plan"]


def test_a_heartbeat_of_the_far_future_lets_nobody_wait_for_ever(nonsense: Nonsense) -> None:
    ahead = json.dumps({"at": 1e15, "host": "elsewhere", "boot": "another", "pid": 1, "began": 1.0, "every": 10})
    with nonsense.planted((Place("tag", schema.HEARTBEAT, "running"), ahead)):
        assert find_reusable(nonsense.demo.folder, "collect", {"seed": 5}).action != "wait"


def test_runs_that_reuse_each_other_in_a_cycle_are_refused_as_an_input(nonsense: Nonsense) -> None:
    one, other = nonsense.runs["good"], nonsense.runs["older"]
    cycle = [(Place("tag", schema.REUSED_RUN_ID, "good"), other), (Place("tag", schema.REUSED_RUN_ID, "older"), one)]
    with nonsense.planted(*cycle):
        with pytest.raises(UsageError, match=f"it reuses {other[:8]}, which computed nothing itself"):
            find_reusable(nonsense.demo.folder, "evaluate", {"train_run_id": one})
        nonsense.look(but=["run"])


@pytest.mark.parametrize("name", ["/etc/passwd", "../" * 20 + "etc/passwd", "a/../../../b"])
def test_a_plan_tells_nothing_of_files_outside_of_a_run(nonsense: Nonsense, name: str) -> None:
    outputs = json.dumps({"folder": "outputs", "models": {}, "sizes": {name: 5}})
    with nonsense.planted((Place("tag", schema.OUTPUTS), outputs)):
        shown = nonsense.look(only=["plan", "status", "page pipeline"])
    assert not [text for text in shown.values() if "bytes instead of" in text or "is gone" in text]
    assert "names a file outside of the run's folder" in shown["plan"]
