"""What is said while something goes on."""

import threading

import pytest

from mlflow_plugin.progress import said_now_and_then


def test_what_takes_long_says_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    said = threading.Event()

    def describe() -> str:
        said.set()
        return "3 of 4"

    with said_now_and_then(describe, first_seconds=0.01):
        assert said.wait(30)
    assert "[phases] 3 of 4" in capsys.readouterr().err


def test_what_is_done_at_once_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with said_now_and_then(lambda: "never"):
        pass
    assert capsys.readouterr().err == ""
