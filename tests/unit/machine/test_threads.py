"""Threads: one for small matrices, and none on cores that other processes use."""

import pytest
import torch

from mlflow_plugin.machine import threads
from mlflow_plugin.machine.threads import SMALL, leave_busy_cores_alone, threads_for


@pytest.fixture(autouse=True)
def eight_threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Stands in for torch's own count, which starts at eight."""
    count = [8]
    monkeypatch.setattr(torch, "get_num_threads", lambda: count[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda number: count.__setitem__(0, number))
    return count


def test_small_matrices_get_one_thread_and_large_ones_all(eight_threads: list[int]) -> None:
    with threads_for(SMALL):
        assert eight_threads == [1]
    assert eight_threads == [8]
    with threads_for(SMALL + 1):
        assert eight_threads == [8]


def test_the_count_comes_back_after_a_failure(eight_threads: list[int]) -> None:
    with pytest.raises(ValueError, match="singular"), threads_for(2):
        raise ValueError("singular")
    assert eight_threads == [8]


@pytest.mark.parametrize(("busy", "expected"), [(0.0, 8), (50.0, 8), (90.0, 2), (100.0, 1)])
def test_a_model_takes_the_cores_that_are_free(monkeypatch: pytest.MonkeyPatch, busy: float, expected: int) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads.psutil, "cpu_percent", lambda interval: busy)
    monkeypatch.setattr(threads.psutil, "cpu_count", lambda: 16)
    assert leave_busy_cores_alone() == expected


def test_the_users_own_setting_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    monkeypatch.setattr(threads.psutil, "cpu_percent", lambda interval: 100.0)
    assert leave_busy_cores_alone() == 8
