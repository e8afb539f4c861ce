"""Standard input that was read is known from its state before and after, and nothing of it is taken away."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mlflow_plugin.observation.standard_input import StandardInput


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        with suppress(OSError):
            os.close(end)


@pytest.mark.parametrize(
    ("first", "then", "was_read"),
    [
        ("some", lambda reading, writing: os.read(reading, 9), True),
        ("some", lambda reading, writing: None, False),
        ("some", lambda reading, writing: os.close(writing), False),
        ("", lambda reading, writing: None, False),
        # Something may have come and gone.
        ("", lambda reading, writing: os.close(writing), True),
        ("", lambda reading, writing: os.write(writing, b"late"), False),
    ],
)
def test_a_pipe_of_which_something_was_read(
    pipe: tuple[int, int], first: str, then: Callable[[int, int], object], was_read: bool
) -> None:
    reading, writing = pipe
    os.write(writing, first.encode())
    before = StandardInput.now(reading)
    then(reading, writing)
    assert before.was_read(StandardInput.now(reading)) is was_read


def test_a_pipe_that_had_ended_before_holds_no_input(pipe: tuple[int, int]) -> None:
    os.close(pipe[1])
    before = StandardInput.now(pipe[0])
    assert not before.was_read(StandardInput.now(pipe[0]))


def test_a_pipe_that_is_full_before_and_after_may_have_been_read(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    os.write(pipe[1], bytes(1 << 16))
    before = StandardInput.now(pipe[0])
    assert before.was_read(StandardInput.now(pipe[0]))


@pytest.mark.parametrize("length", [0, 3])
def test_a_file_was_read_when_its_position_moved(tmp_path: Path, length: int) -> None:
    (tmp_path / "rows").write_text("1 2 3")
    with open(tmp_path / "rows", "rb", buffering=0) as file:
        before = StandardInput.now(file.fileno())
        file.read(length)
        assert before.was_read(StandardInput.now(file.fileno())) is bool(length)


def test_a_device_and_another_file_say_nothing(tmp_path: Path) -> None:
    with open(os.devnull) as null, open(__file__) as here:
        assert StandardInput.now(null.fileno()).kind == ""
        before = StandardInput.now(here.fileno())
        assert not before.was_read(StandardInput.now(null.fileno()))


@pytest.mark.skipif(not Path("/proc/self/fdinfo").is_dir(), reason="needs the files of processes in /proc")
def test_the_input_of_another_process_is_seen_as_its_own_is(tmp_path: Path, pipe: tuple[int, int]) -> None:
    (tmp_path / "rows").write_text("1\n2\n")
    os.write(pipe[1], b"some")
    with open(tmp_path / "rows") as rows:
        for source in (pipe[0], rows.fileno()):
            before = StandardInput.now(source)
            command = ["sh", "-c", "read -r line; echo $line; exec sleep 60"]
            with subprocess.Popen(command, stdin=source, stdout=subprocess.PIPE) as child:
                if source == pipe[0]:
                    os.write(pipe[1], b"\n")
                assert child.stdout is not None
                child.stdout.readline()
                assert before.was_read(StandardInput.of_process(child.pid))
                child.kill()
    assert StandardInput.of_process(child.pid).kind == ""
