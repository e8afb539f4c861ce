"""Going back to the last good run of a phase, by command."""

import pytest
from click.testing import CliRunner
from simulation import GOOD, Simulation

from mlflow_plugin.cli import main


@pytest.fixture
def two(demo: Simulation, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str, str]:
    """A good training, a later one of other epochs, and an evaluation of the later."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", demo.experiment_id)
    demo.compute("collect")
    first = demo.compute("train", "first", {**GOOD, "fidelity": 0.91})
    later = demo.compute("train", "later", epochs=20)
    return first, later, demo.compute("evaluate")


def command(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(words))
    return result.exit_code, result.output


def test_a_quarantine_says_what_falls_with_the_run_and_which_one_is_the_last_good(demo, two):
    first, later, evaluation = two
    code, said = command("quarantine", later, "--reason", "merged wrongly")
    assert code == 0
    assert f"evaluate {evaluation[:8]}" in said
    assert f"the last good train is {first[:8]}" in said
    assert "fidelity 0.91" in said
    assert f"-P train_run_id={first}" in said
    assert demo.latest("train") == first
    assert demo.latest("evaluate") is None


def test_without_another_good_run_the_next_start_is_said_to_compute_one(demo, two):
    first, later, _ = two
    command("quarantine", first, "--reason", "bad")
    code, said = command("quarantine", later, "--reason", "bad too")
    assert (code, "there is no good train before it: the next start of train computes it" in said) == (0, True)


def test_rolling_back_marks_the_newest_good_run_with_the_reason(demo, two):
    first, later, evaluation = two
    code, said = command("rollback", "train", "--project", str(demo.folder), "--reason", "worse on code")
    assert code == 0
    assert demo.run(later).quarantined == "worse on code"
    assert not demo.run(first).quarantined
    assert f"evaluate {evaluation[:8]}" in said
    assert f"the last good train is {first[:8]}" in said


def test_rolling_back_to_a_run_marks_all_that_completed_after_it_and_nothing_else(demo, two):
    first, later, _ = two
    newest = demo.compute("train", "newest", epochs=30)
    code, said = command("rollback", "train", "--to", first, "--project", str(demo.folder), "--reason", "bad data")
    assert (code, demo.latest("train")) == (0, first)
    assert [bool(demo.run(run).quarantined) for run in (first, later, newest)] == [False, True, True]
    assert said.count("is quarantined: bad data") == 2


def test_a_rollback_names_the_results_of_each_run_that_it_marks(demo, two):
    first, _, _ = two
    demo.compute("train", "newest", epochs=30)
    evaluation = demo.compute("evaluate", "another")
    code, said = command("rollback", "train", "--to", first, "--project", str(demo.folder), "--reason", "bad data")
    assert (code, f"evaluate {evaluation[:8]}" in said) == (0, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--to", "LATER"], "is the newest already"),
        (["evaluate", "--to", "FIRST"], "is a run of train, not of evaluate"),
        (["merge"], "there is no phase 'merge'. Phases: collect, train, evaluate"),
    ],
)
def test_a_rollback_that_cannot_be_meant_changes_nothing(demo, two, words, message):
    named = {"FIRST": two[0], "LATER": two[1]}
    words = [named.get(word, word) for word in words]
    code, said = command("rollback", *words, "--project", str(demo.folder), "--reason", "x")
    assert (code, message in said) == (2, True)
    assert not [run for run in two if demo.run(run).quarantined]


def test_one_cannot_go_back_to_a_run_that_must_not_be_used(demo, two):
    first, _, _ = two
    command("quarantine", first, "--reason", "wrong labels")
    code, said = command("rollback", "train", "--to", first, "--project", str(demo.folder), "--reason", "x")
    assert (code, "is quarantined: wrong labels. Lift that first" in said) == (2, True)
