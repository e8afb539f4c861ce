"""Runs that a phase looked at, beside its inputs, are mentioned."""

from mlflow_plugin.observation.asked_runs import with_asked_runs
from mlflow_plugin.observation.recording import Opening, Recording

ANY = Opening(1, 1, 1, 1, 1)


def remarks(*known: str, **seen: object) -> tuple[str, ...]:
    return with_asked_runs(Recording("full", **seen), set(known)).partly


def test_other_runs_than_the_inputs_are_named_or_counted() -> None:
    asked = frozenset({("a" * 32, "get_run"), ("b" * 32, "get_run"), ("c" * 32, "search_runs")})
    assert remarks("a" * 32, "b" * 32, asked=asked) == ("also read run cccccccc of the tracking store, not compared",)
    assert remarks("a" * 32, asked=asked) == ("also read 2 other runs of the tracking store, not compared",)
    assert not remarks("a" * 32, "b" * 32, "c" * 32, asked=asked)


def test_a_search_that_found_nothing_is_named() -> None:
    assert remarks(asked=frozenset({("-", "search_runs")})) == ("the answer of MLflow's search_runs is not compared",)


def test_artifacts_of_another_run_are_named_unless_their_files_were_seen() -> None:
    references = {"runs:/abc/model": "abc", "models:/m@champion": "3"}
    assert remarks(references=references) == ("artifacts of run abc are not compared",)
    assert not remarks("abc", references=references)
    assert not remarks(references=references, read={"/store/1/abc/artifacts/model/x": ANY})
