"""Two runs of a phase side by side: what differs is named, what does not differ is not, and nothing hostile hurts."""

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from simulation import GOOD

from mlflow_plugin.cli.comparison import compare_runs, comparison_text
from mlflow_plugin.errors import PhaseError, UsageError
from mlflow_plugin.machine.environment_facts import environment_facts
from mlflow_plugin.reports.views.code_changes import Work, code_changes, unified_diff
from mlflow_plugin.reports.views.compare import compare_view
from mlflow_plugin.reports.views.effects import effects_of
from mlflow_plugin.store import schema
from mlflow_plugin.store.artifacts import artifact_text
from mlflow_plugin.store.provenance import FILE_LINES, RECORD_BYTES, CodeFile, CodeRecord, code_json
from mlflow_plugin.store.run import PhaseRun

LINES = st.lists(st.sampled_from(["", "a", "b", "a = 1", "\r", "é"]), max_size=30).map("\n".join)


def read(run: PhaseRun, path: str) -> str | None:
    return artifact_text(run, path, RECORD_BYTES)


def compare(demo, left: str, right: str) -> dict[str, Any]:
    return compare_view(demo.history(), left, right, read).to_json()


def differing(view: Mapping[str, Any]) -> dict[str, tuple[str | None, str | None]]:
    return {one["name"]: (one["left"], one["right"]) for one in view["parameters"] if not one["same"]}


def changes(view: Mapping[str, Any]) -> dict[str, str]:
    return {file["path"]: file["change"] for file in view["code"]["files"]}


@pytest.fixture
def base(demo) -> str:
    """Return a good run of train."""
    demo.compute("collect")
    return demo.compute("train")


# --- parameters ---


def test_parameters_are_compared_as_values_and_those_that_change_no_result_are_marked(demo, base):
    demo.edit(
        "MLproject",
        "epochs: {type: int, default: 10}\n      device",
        "epochs: {type: float, default: 10}\n      device",
    )
    other = demo.compute("train", epochs="1e1", device="cuda")
    found = {one["name"]: one for one in compare(demo, base, other)["parameters"]}
    assert (found["epochs"]["left"], found["epochs"]["right"], found["epochs"]["same"]) == ("10", "1e1", True)
    assert (found["device"]["same"], found["device"]["changes_result"]) == (False, False)
    assert (found["decide"]["same"], found["decide"]["changes_result"]) == (True, False)


def test_a_parameter_that_a_run_lacks_stands_at_its_declared_default(demo, base):
    demo.edit("MLproject", "      device:", "      batch: {type: int, default: 8}\n      device:")
    same, other = demo.compute("train"), demo.compute("train", batch=16)
    assert differing(compare(demo, base, same)) == {}
    assert differing(compare(demo, base, other)) == {"batch": ("8", "16")}


def test_a_path_to_a_file_that_has_changed_where_it_lies_is_not_the_same(demo):
    demo.edit("MLproject", "seed: {type: int, default: 0}", "data: {type: path, default: data.csv}")
    demo.edit("MLproject", "--seed {seed}", "--data {data}")
    runs = []
    for text in ("1", "2"):
        (demo.folder / "data.csv").write_text(text)
        runs.append(demo.compute("collect", text))
    left, right = differing(compare(demo, *runs))["data"]
    assert left.startswith("data.csv (content ")
    assert left != right


# --- code ---


def test_a_changed_file_is_shown_as_a_diff_and_a_cosmetic_edit_is_told_apart(demo):
    (demo.folder / "train.py").write_text("import helper\n\nprint(2)\n")
    (demo.folder / "helper.py").write_text("x = 1\n")
    demo.compute("collect")
    left = demo.compute("train")
    demo.edit("helper.py", "x = 1", "x = (1)  # the same")
    demo.edit("train.py", "print(2)", "print(3)")
    view = compare(demo, left, demo.compute("train"))
    assert changes(view) == {"train.py": "changed", "helper.py": "cosmetic"}
    assert view["code"]["summary"] == "1 file changed, 1 only cosmetically"
    assert view["code"]["recorded"]
    assert view["code"]["files"][0]["diff"] == (
        "--- train.py\n+++ train.py\n@@ -1,3 +1,3 @@\n import helper\n \n-print(2)\n+print(3)\n"
    )


def test_added_and_removed_files_are_shown_whole(demo):
    demo.compute("collect")
    (demo.folder / "one.py").write_text("x = 1\n")
    (demo.folder / "train.py").write_text("import one\n")
    left = demo.compute("train")
    (demo.folder / "two.py").write_text("x = 2\n")
    (demo.folder / "train.py").write_text("import two\n")
    view = compare(demo, left, demo.compute("train"))
    assert changes(view) == {"train.py": "changed", "two.py": "added", "one.py": "removed"}
    diffs = {file["path"]: file["diff"] for file in view["code"]["files"]}
    assert diffs["two.py"] == "--- /dev/null\n+++ two.py\n@@ -0,0 +1 @@\n+x = 2\n"
    assert diffs["one.py"] == "--- one.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-x = 1\n"
    assert view["code"]["summary"] == "1 file added, 1 file removed, 1 file changed"


def test_runs_of_before_code_was_kept_are_compared_by_digest(demo, base):
    demo.edit("train.py", "print(2)", "print(3)")
    view = compare_view(demo.history(), base, demo.compute("train"), lambda run, path: None).to_json()
    assert not view["code"]["recorded"]
    assert not view["environment"]["recorded"]
    assert view["code"]["files"] == [
        {"path": "train.py", "change": "changed", "diff": None, "note": "its text is not shown: it was not recorded"}
    ]
    assert "1 file changed" in view["sentence"]


def test_runs_of_which_not_even_the_files_are_known_say_so():
    left, right = (PhaseRun(letter * 32, "train", fingerprint={"code": letter}) for letter in "ab")
    record = CodeRecord("python train.py", {"train.py": CodeFile("0" * 12, "x")})
    found = code_changes(left, right, record, None).to_json()
    assert [(file["path"], file["change"]) for file in found["files"]] == [("train.py", "unknown")]
    assert found["summary"] == "the code differs; in which files is not recorded"
    assert code_changes(left, left, None, None).summary == "the code is the same"
    assert code_changes(PhaseRun("c", "train"), right, None, None).summary == "the code is not recorded"


def test_of_a_file_too_large_to_be_kept_it_is_said_why_no_diff_is_shown():
    run = PhaseRun("a" * 32, "train")
    sides = [CodeRecord("c", {"data.csv": CodeFile(digit * 12, None, "it is larger than 256 KB")}) for digit in "12"]
    file = code_changes(run, run, sides[0], sides[1]).files[0]
    assert (file.change, file.diff) == ("changed", None)
    assert file.note == "its text is not shown: it is larger than 256 KB"


@pytest.mark.parametrize(
    "content", ["", "{", '{"format_version": 9}', '{"format_version": 1, "files": [1]}', "[" * 9999]
)
def test_a_damaged_or_hostile_record_counts_as_none(demo, base, content):
    view = compare_view(demo.history(), base, base, lambda run, path: content).to_json()
    assert view["code"]["summary"] in ("the code is the same", "the code is not recorded")
    json.dumps(view, allow_nan=False)


def test_the_command_of_a_run_that_kept_no_code_is_not_taken_for_another(demo, base):
    other = demo.compute("train", epochs=20)
    of_one = compare_view(
        demo.history(), base, other, lambda run, path: read(run, path) if run.run_id == other else None
    )
    assert of_one.code.command.same
    assert "command" not in of_one.sentence


@pytest.mark.parametrize(
    "error",
    [PhaseError("it is away"), MlflowException("no such scheme"), ModuleNotFoundError("boto3"), ValueError("odd")],
)
def test_a_store_that_does_not_answer_hides_only_what_it_holds(demo, base, error):
    def refuse(run: PhaseRun, path: str) -> str:
        raise error

    assert not compare_view(demo.history(), base, base, refuse).environment.recorded


# --- diffs ---


def applied(left: str, diff: str) -> str:
    """Return what a unified diff makes of a text."""
    marker = "\n\\ No newline at end of file"
    lines = [line + "\n" for line in left.split("\n")]
    if lines[-1] == "\n":
        lines.pop()
    else:
        lines[-1] = lines[-1][:-1]
    result, place = [], 0
    body = diff.replace(marker, "\0").split("\n")[2:-1]
    for line in body:
        if line.startswith("@@"):
            start, _, length = line.split(" ")[1][1:].partition(",")
            begin = int(start) - (length != "0")
            result += lines[place:begin]
            place = begin
            continue
        text = line[1:-1] if line.endswith("\0") else line[1:] + "\n"
        if line[0] in " +":
            result.append(text)
        place += line[0] in " -"
    return "".join([*result, *lines[place:]])


@given(LINES, LINES)
def test_a_diff_makes_the_one_text_of_the_other(left, right):
    diff = unified_diff("a.py", left, right, Work(10_000))
    assert (diff == "") == (left == right)
    assert not diff or applied(left, diff) == right


@given(LINES, LINES)
def test_a_diff_whose_work_is_used_up_is_still_right(left, right):
    diff = unified_diff("a.py", left, right, Work(0))
    assert not diff or applied(left, diff) == right


@given(st.text(max_size=300), st.text(max_size=300))
def test_no_text_is_too_odd_for_a_diff(left, right):
    assert len(unified_diff("a", left, right, Work(10_000))) <= 4 * (len(left) + len(right)) + 200


def test_texts_made_to_take_hours_take_a_moment():
    names_of_lines = [f"line {number}" for number in range(FILE_LINES - 1)]
    left, right = "\n".join(names_of_lines), "\n".join(reversed(names_of_lines))
    repeated = ["\n".join(letter * (number % 90) for number in range(FILE_LINES - 1)) for letter in ("ab", "a")]
    began, work = time.process_time(), Work(3_000_000)
    assert unified_diff("a.py", left, right, work)
    assert unified_diff("b.py", *repeated, work)
    assert time.process_time() - began < 10


# --- inputs, environment, hardware ---


def test_inputs_are_compared_by_their_bytes(demo, base):
    again = demo.compute("collect")
    same = compare(demo, base, demo.compute("train"))["inputs"]
    assert [(one["need"], one["left"]["run_id"] != again, one["right"]["run_id"]) for one in same] == [
        ("collect", True, again)
    ]
    assert same[0]["same_bytes"] is True
    demo.compute("collect", "other states", seed=1)
    view = compare(demo, base, demo.compute("train"))
    assert view["inputs"][0]["same_bytes"] is False
    assert (
        f"collect {same[0]['left']['short']} -> {view['inputs'][0]['right']['short']} (other bytes)" in view["sentence"]
    )


def test_an_input_that_was_deleted_is_still_compared(demo, base):
    used = demo.run(base).inputs["collect"]
    again = demo.compute("train")
    demo.client.delete_run(used)
    assert compare(demo, base, again)["inputs"][0]["same_bytes"] is True


def test_changes_of_the_environment_are_named_one_by_one(demo, base):
    other = demo.compute("train")
    facts = environment_facts()
    packages = dict(facts["packages"])
    demo.records.environment(base, facts)
    version = packages.pop("mlflow")
    demo.records.environment(other, {**facts, "python": "cpython 3.12.1", "packages": {**packages, "numpy": "9.9"}})
    environment = compare(demo, base, other)["environment"]
    assert environment["recorded"]
    assert [(one["name"], one["left"], one["right"]) for one in environment["changes"]] == [
        ("python", facts["python"], "cpython 3.12.1"),
        ("mlflow", version, None),
        ("numpy", facts["packages"]["numpy"], "9.9"),
    ]


def test_other_hardware_is_told(demo, base):
    other = demo.compute("train")
    demo.client.set_tag(other, schema.HARDWARE, "1 x H200")
    view = compare(demo, base, other)
    assert view["hardware"] == {"left": demo.run(base).hardware, "right": "1 x H200", "same": False}
    assert "other hardware" in view["sentence"]


# --- what came of it ---


def test_effects_name_the_better_run_quality_first_then_time_and_cost(demo, base):
    other = demo.compute("train", metrics={"fidelity": 0.95, "held_out": 0.7, "loss": 2.0}, seconds=120.0)
    effects = compare(demo, base, other)["effects"]
    shown = [(one["name"], one["better"], one["unit"]) for one in effects]
    assert shown == [
        ("fidelity", "right", None),
        ("phase.duration_seconds", "left", "s"),
        ("phase.cost_usd", "left", "USD"),
        ("held_out", "left", None),
        ("loss", None, None),
    ]
    assert (effects[1]["difference"], effects[1]["ratio"]) == (60.0, 2.0)
    assert effects[-1]["left"] is None


@pytest.mark.parametrize(("better", "expected"), [("true", "left"), ("false", "right")])
def test_what_is_better_is_as_the_quality_declares(demo, base, better, expected):
    demo.edit("MLproject", "poor: 0.70", f"poor: {'0.70' if better == 'true' else '0.95'}, higher_is_better: {better}")
    other = demo.compute("train", metrics={**GOOD, "fidelity": 0.8})
    assert compare(demo, base, other)["effects"][0]["better"] == expected


@given(st.dictionaries(st.sampled_from(["loss", "phase.duration_seconds"]), st.floats(), max_size=2))
def test_no_metric_breaks_the_json(metrics):
    runs = PhaseRun("a" * 32, "train", metrics=metrics), PhaseRun("b" * 32, "train", metrics={"loss": 5e-324})
    effects = [one.to_json() for one in effects_of(None, *runs) + effects_of(None, *reversed(runs))]
    assert json.loads(json.dumps(effects, allow_nan=False)) == effects


def test_one_sentence_sums_it_up(demo, base):
    demo.edit("train.py", "print(2)", "print(3)")
    other = demo.compute("train", metrics={**GOOD, "fidelity": 0.8765}, epochs=20, seconds=120.0)
    assert compare(demo, base, other)["sentence"] == (
        "fidelity 0.9 -> 0.8765 (worse); epochs 10 -> 20; 1 file changed; 2x as long"
    )
    assert compare(demo, other, base)["sentence"] == (
        "fidelity 0.8765 -> 0.9 (better); epochs 20 -> 10; 1 file changed; 2x as fast"
    )


def test_two_runs_that_were_made_alike_say_so(demo, base):
    assert compare(demo, base, demo.compute("train"))["sentence"] == (
        "fidelity 0.9 as before; parameters, inputs, code and hardware are the same; about as long"
    )


def test_a_run_that_computes_can_be_compared_already(demo, base):
    running, _ = demo.start("train", epochs=11)
    sentence = compare(demo, base, running)["sentence"]
    assert sentence == f"fidelity 0.9 -> unknown; epochs 10 -> 11; {running[:8]} has not completed"


# --- which runs ---


def test_of_a_reuse_the_run_that_it_reused_is_compared(demo, base):
    reuse = demo.settle("train").run_id
    assert compare(demo, base, reuse)["right"]["run_id"] == base


def test_runs_of_different_phases_cannot_be_compared(demo, base):
    with pytest.raises(UsageError, match="only runs of the same phase"):
        compare(demo, base, demo.run(base).inputs["collect"])


def test_runs_that_are_none_are_refused(demo, base):
    with pytest.raises(UsageError, match="has no such run"):
        compare(demo, base, "0" * 32)
    with pytest.raises(UsageError, match="no phase run"):
        compare(demo, base, demo.client.create_run("0").info.run_id)


def test_a_reuse_of_a_deleted_run_says_that_nothing_is_left(demo, base):
    reuse = demo.settle("train").run_id
    demo.client.delete_run(base)
    with pytest.raises(UsageError, match=f"{reuse[:8]} reused the run {base}, which was deleted"):
        compare(demo, reuse, reuse)


def test_the_terminal_shows_it_without_obeying_what_the_store_holds(demo, base):
    hostile = demo.compute("train", epochs=20, metrics={"fidelity": 0.8, "held_out": 0.9})
    text = code_json(CodeRecord("python train.py", {"train.py": CodeFile("f" * 12, "print('\x1b[2J')\n")}))
    demo.client.log_text(hostile, text, schema.CODE_FILE)
    view = compare_runs(demo.client, demo.run(base), demo.run(hostile))
    shown = comparison_text(view)
    assert "\x1b" not in shown
    assert "+print('?[2J')" in shown
    assert shown.startswith(f"train {base[:8]} -> train {hostile[:8]}\nfidelity 0.9 -> 0.8 (worse); epochs 10 -> 20")
    assert re.search(r"\nheld_out +0\.8 +0\.9 ", shown)


def test_names_of_files_forge_no_lines_and_odd_characters_are_shown(demo, base):
    hostile = demo.compute("train", "other", epochs=20)
    files = {
        "a.py\n+++ b.py\nresult  better": CodeFile("f" * 12, "x = 1\n"),
        "bytes\udcff.py": CodeFile("e" * 12, "y = '\ud800'\n"),
        "turned.py": CodeFile("d" * 12, "z = 1 # \u202e = 2\n"),
    }
    demo.client.log_text(hostile, code_json(CodeRecord("python train.py\nrm", files)), schema.CODE_FILE)
    shown = comparison_text(compare_runs(demo.client, demo.run(base), demo.run(hostile)))
    shown.encode("utf-8")
    assert "added: a.py +++ b.py result better\n" in shown
    assert "+++ a.py +++ b.py result better\n" in shown
    assert "command: python train.py rm\n" in shown
    assert "+y = '?'" in shown
    assert "+z = 1 # ? = 2" in shown


def test_a_dangling_link_among_the_artifacts_counts_as_no_record(demo, base):
    record = Path(demo.run(base).artifact_uri.removeprefix("file://")) / schema.CODE_FILE
    record.unlink()
    record.symlink_to("absent")
    assert not compare(demo, base, base)["code"]["recorded"]
    with pytest.raises(PhaseError, match="does not answer"):
        read(demo.run(base), schema.CODE_FILE)
