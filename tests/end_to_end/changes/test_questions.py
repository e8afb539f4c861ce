"""A question is asked when the answer matters, says what this very call will do, and an answer counts."""

from collections.abc import Callable

import pytest

pytestmark = pytest.mark.end_to_end

TWO = """name: changing
entry_points:
  first:
    parameters: {value: {type: int, default: 1}}
    command: 'python first.py {value}'
    phase: {quality: {metric: fidelity, good: 0.85, poor: 0.70}}
  second:
    parameters: {first_run_id: {type: string, default: latest}}
    command: 'python second.py {first_run_id}'
    phase: {needs: [first]}
"""


@pytest.fixture
def two(changing):
    """Two phases, both finished."""
    changing.write("MLproject", TWO)
    body = "import mlflow, sys\nmlflow.log_metric('fidelity', 0.989)\nmlflow.log_text(sys.argv[1] + {0!r}, 'a.txt')\n"
    changing.script(body.format("first"), "first.py")
    changing.script("import mlflow, sys\nmlflow.log_text(sys.argv[1], 'b.txt')\n", "second.py")
    assert changing.start("first").computed
    assert changing.start("second").computed
    return changing


@pytest.fixture
def took(two) -> Callable[[str, float, float], None]:
    """Let the newest computed run of a phase have taken minutes and dollars."""

    def change(phase: str, minutes: float, usd: float) -> None:
        run = next(run for run in two.store.runs(phase) if run.data.tags["phase.verdict"] == "run")
        two.store.client.log_metric(run.info.run_id, "phase.duration_seconds", minutes * 60, step=1)
        two.store.client.log_metric(run.info.run_id, "phase.cost_usd", usd, step=1)

    return change


def edit(two, phase: str) -> None:
    file = two.folder / f"{phase}.py"
    file.write_text(file.read_text() + "print(1)\n")


def test_an_edit_whose_consequences_are_cheap_runs_and_says_what_becomes_stale(two):
    edit(two, "first")
    answer = two.start("first")
    assert (answer.verdict, answer.computed) == ("run", True)
    assert "second" in answer.reason


@pytest.mark.parametrize("phase", ["first", "second"])
def test_good_work_of_eleven_minutes_is_never_given_up_unasked(two, took, phase):
    took(phase, 11, 0.16)
    edit(two, phase)
    answer = two.start(phase)
    assert (answer.verdict, answer.computed) == ("ask", False)


def test_expensive_work_downstream_is_asked_about_though_the_phase_itself_is_cheap(two, took):
    took("second", 11, 0.16)
    edit(two, "first")
    assert two.start("first").verdict == "ask"


def test_a_cheap_new_value_runs_and_the_old_value_is_found_again(two):
    assert two.start("first", value=2).computed
    assert two.start("first", value=1).verdict == "reuse"


def test_a_costly_new_value_can_be_computed_beside_and_leaves_the_latest_alone(two, took):
    took("second", 11, 0.16)
    asked = two.start("first", value=2)
    assert asked.verdict == "ask"
    beside = two.start("first", value=2, decide="beside")
    assert (beside.verdict, beside.computed) == ("run", True)
    assert two.start("second").verdict == "reuse", "the latest first is still that of value=1"
    again = two.start("first", value=2, decide="beside")
    assert again.verdict == "reuse"


def test_zero_always_asks(two):
    two.monkeypatch.setenv("MLFLOW_PHASES_ASK_ABOVE", "0")
    edit(two, "first")
    assert two.start("first").verdict == "ask"


def test_an_accepted_keep_is_not_asked_again(two, took):
    took("second", 11, 0.16)
    edit(two, "second")
    assert two.start("second").verdict == "ask"
    assert two.start("second", decide="reuse").verdict == "reuse"
    again = two.start("second")
    assert again.verdict == "reuse"
    assert "kept by" in again.reason


def test_a_worse_result_does_not_become_the_latest_unasked(two):
    before = two.store.runs("first")[0].info.run_id
    file = two.folder / "first.py"
    file.write_text(file.read_text().replace("0.989", "0.75"))
    assert two.start("first").computed
    second = two.start("second")
    assert second.verdict == "reuse"
    run = two.store.client.get_run(second.run_id)
    assert run.data.tags["phase.input.first"] == before


def test_changed_data_that_an_expensive_run_had_read_is_asked_about_with_the_file_named(changing):
    changing.script("open('data.csv').read()")
    changing.write("data.csv", "1")
    run = changing.start()
    changing.store.client.log_metric(run.run_id, "phase.duration_seconds", 660, step=1)
    changing.write("data.csv", "2")
    asked = changing.start()
    assert (asked.verdict, asked.computed) == ("ask", False)
    assert "data.csv" in asked.reason
    assert changing.start(decide="reuse").verdict == "reuse"
    assert changing.start().verdict == "reuse", "the answer counts for this very content"
    changing.write("data.csv", "3")
    assert changing.start().verdict == "ask", "another content is another question"


DIAMOND = """name: changing
entry_points:
  a: {command: 'python a.py', phase: {}}
  b: {command: 'python b.py', phase: {needs: [a]}}
  c: {command: 'python c.py', phase: {needs: [a]}}
  d: {command: 'python d.py', phase: {needs: [b, c]}}
"""


def test_inputs_from_two_generations_are_asked_about(changing):
    changing.write("MLproject", DIAMOND)
    for name in "abcd":
        changing.script(
            f"import mlflow, os\nmlflow.log_text(str(sorted(os.environ)) + '{name}1', 'x.txt')", f"{name}.py"
        )
    for name in "abcd":
        assert changing.start(name).computed
    for name in "ab":
        file = changing.folder / f"{name}.py"
        file.write_text(file.read_text().replace(f"{name}1", f"{name}2"))
        assert changing.start(name).computed
    asked = changing.start("d")
    assert (asked.verdict, asked.computed) == ("ask", False)
    assert "c" in asked.reason
