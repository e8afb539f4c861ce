"""The phase as its script holds it, as far as it needs no process of its own."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlflow_plugin.errors import UsageError
from mlflow_plugin.phase.active import ActivePhase


@pytest.fixture
def phase(demo, tmp_path: Path) -> ActivePhase:
    """Return a phase in the middle of its work, with a heart that only keeps what it is told."""
    run_id, decision = demo.start("collect")
    heart = SimpleNamespace(step=None, total=None)
    session = SimpleNamespace(restore=lambda state: 0, due=lambda *counts: False, pause=lambda: None)
    return ActivePhase(demo.records, run_id, decision.request.phase, {}, {}, tmp_path, heart, session)


def told(phase: ActivePhase) -> tuple[int | None, int | None]:
    return phase._heartbeat.step, phase._heartbeat.total


def test_whoever_looks_is_told_how_far_a_loop_with_progress_is(phase):
    assert [told(phase) for _ in phase.progress("abc")] == [(0, 3), (1, 3), (2, 3)]
    assert told(phase) == (None, None)


def test_of_loops_inside_one_another_the_outermost_is_told(phase):
    seen = [told(phase) for _ in phase.progress("ab") for _ in phase.progress(range(5))]
    assert seen == [(0, 2)] * 5 + [(1, 2)] * 5


def test_a_loop_inside_a_step_leaves_the_steps_as_they_are(phase):
    seen = [told(phase) for _ in phase.steps(2) for _ in phase.progress("ab")]
    assert seen == [(None, None)] * 2 + [(1, 2)] * 2


def test_a_loop_that_is_left_early_is_told_no_more(phase):
    items = phase.progress("abc")
    next(items)
    items.close()
    assert told(phase) == (None, None)


def test_a_phase_can_mark_what_it_was_built_on_as_not_to_be_used(demo, phase):
    computed = demo.compute("collect")
    phase._inputs = {"collect": demo.history().run(computed)}
    phase.quarantine("collect", "its output is all zeros")
    assert demo.history().run(computed).quarantined == "its output is all zeros"


def test_what_is_marked_is_the_run_that_computed_the_outputs_not_one_that_reused_them(demo, phase):
    computed = demo.compute("collect")
    phase._inputs = {"collect": replace(demo.history().run(computed), run_id="another", reused_run_id=computed)}
    phase.quarantine("collect", "bad")
    assert demo.history().run(computed).quarantined == "bad"


def test_only_what_a_phase_needs_can_be_marked_by_it(phase):
    with pytest.raises(UsageError, match="does not need 'train'"):
        phase.quarantine("train", "bad")
