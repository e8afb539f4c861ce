"""Stores of the second version are still read: `fixtures/store_v2` was made by `fixtures/make_store.py`, once."""

import json
from pathlib import Path

import pytest
from make_store import copied

from mlflow_plugin.testing import SimulatedProject

STORED = Path(__file__).parents[2] / "fixtures" / "store_v2"


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimulatedProject:
    """Return the project of the second version with a copy of its store, whose user this test is."""
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    folder = tmp_path / "store_v2"
    project = SimulatedProject(folder / "project", copied(STORED, folder))
    # The question that was answered was about an edit of this script.
    script = project.folder / "prepare.py"
    script.write_text(script.read_text().replace("print(1)\n", ""), encoding="utf-8")
    return project


def test_the_stored_files_are_small_and_tell_nothing_of_the_machine_that_made_them():
    for file in STORED.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert len(content) < 1_000_000
            for private in (b"/tmp/", b"/home/", str(Path(__file__).parents[3]).encode()):
                assert private not in content, file


def test_runs_are_reused_while_what_they_read_is_unchanged(stored):
    for phase in ("prepare", "train"):
        verdict = stored.decide(phase).verdict
        assert (verdict.action, verdict.kind) == ("reuse", "same"), verdict.reasons
        assert verdict.observed is not None


def test_a_changed_file_and_one_that_was_not_there_are_named(stored):
    (stored.folder / "rows.csv").write_text("a,b\n1,3\n", encoding="utf-8")
    (stored.folder / "local.yaml").write_text("a: 1\n", encoding="utf-8")
    prepare, train = stored.decide("prepare").verdict, stored.decide("train").verdict
    assert prepare.action != "reuse"
    assert "rows.csv" in " ".join(prepare.reasons)
    assert "local.yaml" in " ".join(train.reasons)


def test_the_quality_is_the_value_that_was_logged_last(stored):
    assert stored.decide("train").verdict.quality == 0.95


def test_a_run_beside_is_found_by_its_parameters_and_is_not_the_latest(stored):
    verdict = stored.decide("train", epochs=20, decide="beside").verdict
    assert verdict.action == "reuse"
    latest = stored.decide("train").verdict
    assert latest.run_id != verdict.run_id


def test_an_answer_that_kept_a_run_is_not_asked_for_again(stored, monkeypatch):
    monkeypatch.setenv("MLFLOW_PHASES_ASK_ABOVE", "0")
    script = stored.folder / "prepare.py"
    script.write_text(script.read_text() + "print(1)\n", encoding="utf-8")
    verdict = stored.decide("prepare").verdict
    assert verdict.action == "reuse"
    assert "kept by ada" in verdict.reasons[-1]


def test_a_trace_that_is_damaged_or_hostile_makes_the_verdict_ask(stored, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for harm in ("{", json.dumps({"format": 1, "coverage": "full", "files": {"names": [[1]]}}), ""):
        for trace in stored.folder.parent.rglob("reads.json"):
            trace.write_text(harm, encoding="utf-8")
        monkeypatch.setattr("mlflow_plugin.store.traces._recent", {})
        verdict = stored.decide("train").verdict
        assert (verdict.action, verdict.kind) == ("ask", "unseen")
