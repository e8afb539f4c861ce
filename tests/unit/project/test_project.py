import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.judging import Gate, Quality
from mlflow_plugin.project.parameters import Parameter
from mlflow_plugin.project.project import Phase, Project


def project(**needs: list[str]) -> Project:
    """A project whose phases are named and wired by the keywords."""
    phases = {name: Phase(name, f"python {name}.py", {}, tuple(upstream)) for name, upstream in needs.items()}
    return Project("demo", Path("demo"), Path("demo/MLproject"), phases)


DIAMOND = {"left": ["source"], "right": ["source"], "source": [], "join": ["left", "right"], "apart": []}


@pytest.mark.parametrize(
    ("value", "grade"), [(0.85, "good"), (0.9, "good"), (0.849, "borderline"), (0.7, "borderline"), (0.699, "poor")]
)
def test_the_bounds_themselves_count_as_reached(value, grade):
    assert Quality("fidelity", good=0.85, poor=0.7).grade(value) == grade


@pytest.mark.parametrize(("value", "grade"), [(0.1, "good"), (0.11, "borderline"), (0.5, "borderline"), (0.51, "poor")])
def test_a_loss_is_good_when_it_is_low(value, grade):
    assert Quality("loss", good=0.1, poor=0.5, higher_is_better=False).grade(value) == grade


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("higher_is_better", [True, False])
def test_quality_that_is_not_finite_is_unknown_and_never_good(value, higher_is_better):
    assert Quality("m", 0.5, 0.5, higher_is_better).grade(value) == "unknown"


@pytest.mark.parametrize(
    ("text", "left", "operator", "right"),
    [
        ("held_out > 0.5", "held_out", ">", "0.5"),
        ("held_out>=identity", "held_out", ">=", "identity"),
        ("loss <= 1e-3", "loss", "<=", "1e-3"),
        ("errors == 0", "errors", "==", "0"),
        ("errors != 0", "errors", "!=", "0"),
        ("loss < 0", "loss", "<", "0"),
    ],
)
def test_a_gate_compares_a_metric_with_a_number_or_another_metric(text, left, operator, right):
    assert Gate.parse(text) == Gate(text, left, operator, right)


@pytest.mark.parametrize("text", ["", "held_out", "> 0.5", "held_out >", "0 < loss < 1", "a = 3", "a > > 3", "a => 3"])
def test_an_invalid_condition_is_refused_with_the_expected_form(text):
    with pytest.raises(ValueError, match="is not a condition; write METRIC"):
        Gate.parse(text)


@given(left=st.floats(allow_nan=False), right=st.floats(allow_nan=False))
def test_a_gate_passes_exactly_when_its_condition_holds(left, right):
    holds = {
        "<": left < right,
        ">": left > right,
        "<=": left <= right,
        ">=": left >= right,
        "==": left == right,
        "!=": left != right,
    }
    for operator, expected in holds.items():
        failure = Gate.parse(f"a {operator} b").failure({"a": left, "b": right})
        assert (failure is None) == expected


@pytest.mark.parametrize("text", ["loss < 1", "loss > 1", "loss <= 1", "loss >= 1", "loss == 1"])
def test_nan_passes_no_gate(text):
    assert Gate.parse(text).failure({"loss": math.nan}) == f"gate {text!r} failed: nan against 1"


def test_a_gate_on_a_metric_that_was_never_logged_fails_and_says_so():
    gate = Gate.parse("held_out > identity")
    assert gate.failure({"held_out": 1.0}) == "gate 'held_out > identity' failed: metric 'identity' was never logged"


def test_a_phase_is_judged_by_the_metrics_of_quality_and_gates_and_by_no_number():
    gates = (Gate.parse("held_out > 1e-3"), Gate.parse("q >= held_out"), Gate.parse("0.5 < share"))
    assert Phase("train", "", {}, quality=Quality("q", 0.8, 0.5), gates=gates).judged_metrics == [
        "q",
        "held_out",
        "share",
    ]


def test_a_good_run_whose_gate_fails_is_graded_gate_and_a_poor_one_stays_poor():
    phase = Phase("train", "", {}, quality=Quality("q", 0.8, 0.5), gates=(Gate.parse("held_out > 0"),))
    assert phase.grade({"q": 0.9, "held_out": 1}) == "good"
    assert phase.grade({"q": 0.9, "held_out": -1}) == "gate"
    assert phase.grade({"q": 0.4, "held_out": -1}) == "poor"
    assert Phase("train", "", {}, gates=phase.gates).grade({}) == "gate"


def test_decide_pins_and_ignored_parameters_do_not_change_the_result():
    names = ("epochs", "device", "decide", "phase1_run_id", "phase9_run_id")
    phase = Phase("t", "", {n: Parameter(n) for n in names}, needs=("phase1",), ignore=frozenset({"device"}))
    assert [parameter.name for parameter in phase.result_parameters] == ["epochs", "phase9_run_id"]


def test_resolving_gives_typed_values_and_fills_in_defaults():
    declared = {"epochs": Parameter("epochs", "int", 10), "rate": Parameter("rate", "float", "1e-3")}
    phase = Phase("train", "", declared, needs=("collect",))
    given_now = {"epochs": "20", "decide": "reuse", "collect_run_id": "abc"}
    assert phase.resolve(given_now) == {"epochs": 20, "rate": 0.001}


@pytest.mark.parametrize(
    ("given_now", "message"),
    [
        ({"epoch": 3}, "train has no parameter 'epoch'. Its parameters: collect_run_id, decide, epochs"),
        ({"epochs": "many"}, "parameter 'epochs' must be an integer, got 'many'"),
        ({"epochs": 3, "decide": "yes"}, "decide='yes' is not one of ask, reuse, rerun, beside, fail, wait"),
        ({}, "parameter 'epochs' has no default: pass -P epochs=VALUE"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_is_allowed(given_now, message):
    phase = Phase("train", "", {"epochs": Parameter("epochs", "int")}, needs=("collect",))
    with pytest.raises(UsageError) as error:
        phase.resolve(given_now)
    assert message in str(error.value)
    assert error.value.exit_code == 2


def test_order_holds_each_phase_after_its_needs_and_leaves_out_what_is_not_needed():
    names = [phase.name for phase in project(**DIAMOND).order(["join"])]
    assert sorted(names) == ["join", "left", "right", "source"]
    assert (names[0], names[-1]) == ("source", "join")


def test_downstream_is_transitive():
    assert {phase.name for phase in project(**DIAMOND).downstream("source")} == {"left", "right", "join"}
    assert project(**DIAMOND).downstream("join") == []


def test_the_error_for_an_unknown_phase_lists_the_phases():
    with pytest.raises(UsageError, match=r"demo/MLproject: there is no phase 'four'. Phases: left, right, source"):
        project(**DIAMOND).phase("four")
    with pytest.raises(UsageError, match="none: add a `phase:` mapping"):
        project().phase("four")
