"""Ranks: from the variables of a launcher, and not from those that another launcher has left behind."""

import pytest

from mlflow_plugin.machine.ranks import local_rank, process_count, rank

LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LAUNCHER:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, (0, 1)),
        ({"RANK": "2", "WORLD_SIZE": "4"}, (2, 4)),
        ({"RANK": "3"}, (0, 1)),
        ({"WORLD_SIZE": "4"}, (0, 1)),
        ({"RANK": "4", "WORLD_SIZE": "4"}, (0, 1)),
        ({"RANK": "-1", "WORLD_SIZE": "4"}, (0, 1)),
        ({"RANK": "one", "WORLD_SIZE": "many"}, (0, 1)),
        ({"RANK": "0", "WORLD_SIZE": "1"}, (0, 1)),
    ],
)
def test_a_process_is_one_of_several_only_when_a_launcher_says_both_its_number_and_how_many(
    monkeypatch, variables, expected
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (rank(), process_count()) == expected


def test_the_gpu_is_that_of_the_process_on_its_machine(monkeypatch):
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert local_rank() == 5
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert local_rank() == 1
