import json
import os
import signal
import subprocess
import sys

import psutil
import pytest

from mlflow_plugin.machine import liveness
from mlflow_plugin.machine.liveness import (
    BEAT_SECONDS,
    DEAD_AFTER_SECONDS,
    Watch,
    boot_id,
    is_alive,
    is_stopped,
    new_heartbeat,
    whereabouts,
)
from tests.servers.process import wait_until

NOW = 1_772_366_400.0


def beat_from_elsewhere(age: float) -> dict:
    return {"at": NOW - age, "host": "another-machine", "boot": "another", "pid": os.getpid(), "began": 1.0}


def test_this_process_is_alive_however_old_its_heartbeat():
    assert is_alive({**new_heartbeat(), "at": 0.0}, NOW)


def test_a_process_that_ended_is_dead_however_fresh_its_heartbeat():
    code = "import json; from mlflow_plugin.machine.liveness import new_heartbeat; print(json.dumps(new_heartbeat()))"
    ended = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert ended["boot"] == boot_id()
    assert not is_alive(ended, ended["at"])


def test_a_process_id_that_was_given_to_another_process_is_not_taken_for_the_first():
    beat = new_heartbeat()
    assert not is_alive({**beat, "began": beat["began"] - 100}, beat["at"])


def test_a_process_that_ended_and_was_not_collected_is_dead():
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    began = psutil.Process(child.pid).create_time()
    try:
        assert not is_alive({**new_heartbeat(), "pid": child.pid, "began": began}, NOW)
    finally:
        child.wait()


@pytest.mark.parametrize(("age", "alive"), [(0, True), (DEAD_AFTER_SECONDS - 1, True), (DEAD_AFTER_SECONDS, False)])
def test_a_process_on_another_machine_is_known_by_the_age_of_its_heartbeat(age, alive):
    assert is_alive(beat_from_elsewhere(age), NOW) == alive


def test_a_heartbeat_from_before_this_machine_was_started_counts_by_its_age():
    beat = {**new_heartbeat(), "boot": "the one before"}
    assert is_alive(beat, beat["at"])
    assert not is_alive(beat, beat["at"] + DEAD_AFTER_SECONDS)


@pytest.mark.parametrize(
    "beat",
    [
        {},
        {"at": None},
        {"at": "now"},
        {"boot": "x", "host": "y"},
        {**new_heartbeat(), "pid": None},
        {**new_heartbeat(), "pid": "x"},
        {**new_heartbeat(), "began": None},
        {**new_heartbeat(), "pid": -1},
    ],
)
def test_a_heartbeat_that_says_too_little_is_no_sign_of_life(beat):
    assert not is_alive(beat, NOW)


def test_a_heartbeat_holds_the_step_and_what_the_machine_is_busy_with():
    beat = new_heartbeat(40, {"cpu_percent": 93.0})
    assert (beat["step"], beat["cpu_percent"], beat["pid"]) == (40, 93.0, os.getpid())


# --- a process that stands still ---


@pytest.fixture
def stopped():
    """The id of a process that was stopped by a signal."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    child.send_signal(signal.SIGSTOP)
    wait_until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_STOPPED, "the process stopped")
    yield child.pid
    child.kill()
    child.wait()


@pytest.mark.parametrize(
    ("silent", "alive"), [(0.0, True), (DEAD_AFTER_SECONDS - 5, True), (DEAD_AFTER_SECONDS, False)]
)
def test_a_process_that_stands_still_is_dead_once_its_heart_was_silent_for_too_long(stopped, silent, alive):
    beat = new_heartbeat(pid=stopped)
    beat["up"] -= silent
    assert whereabouts(beat) == "stopped"
    assert is_stopped(stopped)
    # By the clock that is never set: what the other one says plays no part on the same machine.
    assert [is_alive(beat, now) for now in (0.0, beat["at"], beat["at"] + 1e9)] == [alive] * 3
    assert Watch().is_alive("run", beat) == alive


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the start of a process is a time of the wall clock")
def test_a_wall_clock_that_is_set_makes_no_process_look_like_another(monkeypatch):
    beat = new_heartbeat()
    real = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: real(process) + 3600)
    assert whereabouts(beat) == "running"


def test_a_process_that_runs_is_not_taken_for_one_that_stands_still():
    assert not is_stopped(os.getpid())
    assert whereabouts({**new_heartbeat(), "up": -1e9}) == "running"
    assert Watch().is_alive("run", {**new_heartbeat(), "at": 0.0, "up": -1e9})


# --- watching a heart of another machine ---


class Clocks:
    """Two clocks that a test sets: one that only goes forward, and that of the wall."""

    def __init__(self) -> None:
        self.steady, self.wall = 0.0, NOW
        self.watch = Watch(lambda: self.steady, lambda: self.wall)

    def looks(self, beat: dict, seconds: float) -> list[bool]:
        """What is thought of a beat at each of the looks, one a second, that so many seconds allow."""
        found = []
        for _ in range(int(seconds)):
            self.steady += 1
            self.wall += 1
            found.append(self.watch.is_alive("run", beat))
        return found


def test_a_beat_that_is_old_by_its_own_time_is_watched_for_two_and_a_half_intervals_before_it_counts():
    clocks = Clocks()
    beat = beat_from_elsewhere(3600)
    assert clocks.watch.is_alive("run", beat)
    assert clocks.watch.doubtful("run", beat) == 2.5 * BEAT_SECONDS
    assert clocks.looks(beat, 24) == [True] * 24
    assert clocks.watch.doubtful("run", beat) == 1
    assert clocks.looks(beat, 2) == [False, False]
    assert clocks.watch.doubtful("run", beat) is None


@pytest.mark.parametrize("age", [0, -3600, -1e9], ids=["now", "an_hour_ahead", "decades_ahead"])
def test_a_beat_that_does_not_change_is_dead_in_the_end_whatever_its_time_says(age):
    clocks = Clocks()
    beat = beat_from_elsewhere(age)
    assert clocks.watch.is_alive("run", beat)
    assert clocks.looks(beat, DEAD_AFTER_SECONDS - 1) == [True] * 59
    assert clocks.looks(beat, 2) == [False, False]


@pytest.mark.parametrize("age", [3600, 0, -3600])
def test_a_heart_that_beats_lives_whatever_its_clock_says(age):
    clocks = Clocks()
    for count in range(30):
        assert all(clocks.looks({**beat_from_elsewhere(age), "beat": count}, 10))


def test_a_wall_clock_that_jumps_while_watching_kills_nobody():
    clocks = Clocks()
    assert all(clocks.looks(beat_from_elsewhere(0), 20))
    clocks.wall += 1e6
    assert all(clocks.looks(beat_from_elsewhere(0), 4))


def test_time_in_which_nobody_looked_proves_nothing():
    clocks = Clocks()
    beat = beat_from_elsewhere(3600)
    assert all(clocks.looks(beat, 20))
    clocks.steady += 300  # the store was away, or this machine slept
    assert clocks.looks(beat, 24) == [True] * 24
    assert not all(clocks.looks(beat, 3))


def test_who_was_seen_to_be_dead_stays_so_until_its_heart_beats_again():
    clocks = Clocks()
    beat = beat_from_elsewhere(3600)
    clocks.looks(beat, 40)
    clocks.steady += 300
    assert not clocks.watch.is_alive("run", beat)
    assert clocks.watch.is_alive("run", {**beat, "beat": 1})


def test_a_heart_is_judged_by_the_interval_at_which_it_says_to_beat():
    clocks = Clocks()
    slow = {**beat_from_elsewhere(200), "every": 60.0}
    assert is_alive(slow, NOW)
    assert not is_alive({**slow, "every": 10.0}, NOW)
    assert all(clocks.looks(slow, 149))


@pytest.mark.parametrize("every", [float("nan"), float("inf"), -1, 0, 1e300, "x", None])
def test_an_interval_that_makes_no_sense_keeps_nobody_alive_for_ever(every):
    clocks = Clocks()
    assert not all(clocks.looks({**beat_from_elsewhere(1e7), "every": every}, 2000))


@pytest.mark.parametrize(
    ("text", "seconds"), [(None, 10), ("", 10), ("0.5", 0.5), ("0", 0.05), ("1e9", 600), ("x", 10)]
)
def test_the_interval_can_be_set_within_bounds(text, seconds, capsys):
    assert liveness._beat_seconds(text) == seconds
    assert ("MLFLOW_PHASES_BEAT_SECONDS='x' is no number of seconds" in capsys.readouterr().err) == (text == "x")
