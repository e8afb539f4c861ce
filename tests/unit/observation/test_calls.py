import json

import pytest

from mlflow_plugin.observation.calls import Call, CallAnswer, RecordedCall, Result, calls_of, left_again
from mlflow_plugin.observation.places import Places
from mlflow_plugin.observation.trace import Trace
from tests.unit.observation.observing import SECOND


def test_a_call_keeps_folders_and_paths_as_names_so_that_another_checkout_finds_them(tmp_path):
    data = tmp_path / "data"
    places = Places(tmp_path / "project", roots={"data": data})
    recorded = RecordedCall(
        project=str(tmp_path / "project/src/clean"),
        entry_point="main",
        parameters={"input": str(data / "raw.csv"), "rate": "0.1", "elsewhere": "/mnt/x"},
        base=str(tmp_path / "project"),
        results={"main": Result("a" * 32, "digest")},
        at=1,
    )
    (call,) = calls_of([recorded], places)
    assert (call.project, call.base, call.name) == ("src/clean", ".", "src/clean")
    assert call.parameters == {"rate": "0.1", "elsewhere": "/mnt/x"}
    assert call.paths == {"input": "root data: raw.csv"}


def test_what_may_be_a_secret_stays_out_of_the_trace(tmp_path):
    given = {"api_key": "abc", "database": "postgresql://ada:pass@db/x", "depth": "3"}
    results = {"main": Result("a" * 32)}
    (call,) = calls_of([RecordedCall(str(tmp_path), "main", given, str(tmp_path), "", results)], Places(tmp_path))
    assert call.parameters == {"depth": "3"}
    assert call.hidden == ("api_key", "database")
    assert b"pass" not in Trace("full", calls=(call,)).to_json()
    assert "api_key=(hidden)" in call.remark()


def test_the_last_of_equal_calls_counts_and_one_that_failed_is_kept_without_a_result(tmp_path):
    places = Places(tmp_path)

    def recorded(at: int, run: str, question: str = "") -> RecordedCall:
        results = {"train": Result(run)} if run else {}
        return RecordedCall(str(tmp_path), "train", {}, str(tmp_path), "", results, question, at)

    calls = calls_of([recorded(3, "b"), recorded(1, "a"), recorded(2, "", "which one?")], places)
    assert [call.results for call in calls] == [{"train": Result("b")}]
    calls = calls_of([recorded(1, "a"), recorded(2, "")], places)
    assert [call.results for call in calls] == [{}]
    assert Trace.from_json(Trace("full", calls=calls).to_json()).calls == calls


def test_a_recorded_call_is_read_again_as_it_was_told():
    call = RecordedCall("/p", "main", {"a": "1\0"}, "/b", "7", {"main": Result("r", "d")}, "", 5)
    assert RecordedCall.told(json.dumps(call.__dict__)) == call


def test_calls_with_other_variables_are_two_calls(tmp_path):
    def recorded(at: int, run: str, **variables: str) -> RecordedCall:
        results = {"train": Result(run)}
        return RecordedCall(str(tmp_path), "train", {}, str(tmp_path), "", results, at=at, variables=variables)

    calls = calls_of([recorded(1, "a", WHO="1"), recorded(2, "b", WHO="2")], Places(tmp_path))
    assert [call.variables for call in calls] == [{"WHO": "1"}, {"WHO": "2"}]
    assert Trace.from_json(Trace("full", calls=calls).to_json()).calls == calls


def test_a_file_that_one_step_after_another_leaves_is_known_by_their_results(observed):
    def step(at: int, run: str, *names: str) -> RecordedCall:
        left = tuple(str(observed.folder / name) for name in names)
        return RecordedCall(str(observed.folder), "train", results={"train": Result(run)}, at=at, seconds=1, left=left)

    observed.write("again.txt", "of b")
    observed.write("before.txt", "of b")
    observed.write("once.txt")
    observed.read("once.txt", "again.txt", "before.txt")
    read = observed.seen["read"]
    late, early = read[str(observed.folder / "again.txt")].opened_ns, str(observed.folder / "before.txt")
    read[early] = read[early]._replace(opened_ns=late - 3 * SECOND, mtime_ns=0)
    calls = (step(late, "a", "again.txt", "before.txt", "once.txt"), step(late + 9, "b", "again.txt", "before.txt"))
    observed.seen["calls"] = calls
    trace = observed.trace()
    assert [file.name for file in trace.files] == ["once.txt"]
    assert trace.changed_while_read == ("before.txt",)  # It was read before any of these steps began.
    assert left_again([calls[0], step(late + 9, "a", "again.txt")]) == {}


CALL = {"project": ".", "entry_point": "train", "results": {"train": ["run", "digest"]}}


@pytest.mark.parametrize(
    "calls",
    [
        {},
        [1],
        [CALL | {"results": 1}],
        [CALL | {"results": {"train": ["run"]}}],
        [CALL | {"results": {"train": [1, 2]}}],
        [CALL | {"project": 1}],
        [CALL | {"parameters": []}],
        [CALL | {"paths": {"a": None}}],
        [CALL | {"variables": ["DATA"]}],
    ],
)
def test_calls_of_wrong_types_in_a_trace_are_a_value_error(calls):
    with pytest.raises(ValueError, match="calls"):
        Trace.from_json(json.dumps({"format": 1, "coverage": "full", "calls": calls}).encode())


def test_steps_are_compared_by_the_answers_to_them(observed):
    calls = (
        Call(".", "same", results={"same": Result("1" * 32)}),
        Call("src/other", "main", results={"main": Result("2" * 32, "a")}),
        Call("src/other", "check", results={"check": Result("3" * 32)}),
        Call("away", "main", results={"main": Result("4" * 32)}),
    )
    answers = {
        "same": CallAnswer({"same": Result("1" * 32)}),
        "src/other": CallAnswer({"main": Result("5" * 32, "b")}),
        "src/other#check": CallAnswer(reason="would run now: its code differs"),
        "away": CallAnswer(unclear="the disk is missing"),
    }
    findings = observed.compare(Trace("full", calls=calls), ask_step=lambda call: answers[call.name])
    assert findings.changed == (
        "the result of the step src/other, which was run 22222222 and is run 55555555 now",
        "the result of the step src/other#check, which would run now: its code differs",
    )
    assert findings.unclear == ("the step away is not compared: the disk is missing",)
    assert findings.steps[0] == "same: run 11111111"
    assert observed.compare(Trace("full", calls=calls[:1])).unclear


def test_what_a_step_did_not_compare_is_said_of_its_caller(observed):
    result = {"main": Result("1" * 32)}
    trace = Trace("full", calls=(Call("src/train", "main", results=result),))
    answer = CallAnswer(result, mentions=("also read from db:5432, not compared",), complete=False)
    findings = observed.compare(trace, ask_step=lambda call: answer)
    assert findings.mentions == ("the step src/train: also read from db:5432, not compared",)
    assert not findings.complete
    assert observed.compare(trace, ask_step=lambda call: CallAnswer(result)).complete


def test_a_trace_without_calls_has_the_text_that_it_had_before():
    assert Trace("full").to_json() == b'{"coverage":"full","format":1}'
