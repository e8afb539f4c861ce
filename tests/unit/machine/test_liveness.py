import json
import os
import signal
import subprocess
import sys

import psutil
import pytest

from mlflow_plugin.machine import liveness
from mlflow_plugin.machine.liveness import (
    DEAD_AFTER_SECONDS,
    HEARTBEAT_SECONDS,
    Watch,
    boot_id,
    is_alive,
    is_stopped,
    new_heartbeat,
    whereabouts,
)
from tests.servers.process import wait_until

NOW = 1_772_366_400.0


def heartbeat_from_elsewhere(age: float) -> dict:
    return {"at": NOW - age, "host": "another-machine", "boot": "another", "pid": os.getpid(), "began": 1.0}


def test_this_process_is_alive_however_old_its_heartbeat():
    assert is_alive({**new_heartbeat(), "at": 0.0}, NOW)


def test_a_process_that_ended_is_dead_however_recent_its_heartbeat():
    code = "import json; from mlflow_plugin.machine.liveness import new_heartbeat; print(json.dumps(new_heartbeat()))"
    ended = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert ended["boot"] == boot_id()
    assert not is_alive(ended, ended["at"])


def test_a_reused_pid_does_not_count_as_the_first_process():
    heartbeat = new_heartbeat()
    assert not is_alive({**heartbeat, "began": heartbeat["began"] - 100}, heartbeat["at"])


def test_a_zombie_process_is_dead():
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    began = psutil.Process(child.pid).create_time()
    try:
        assert not is_alive({**new_heartbeat(), "pid": child.pid, "began": began}, NOW)
    finally:
        child.wait()


@pytest.mark.parametrize(("age", "alive"), [(0, True), (DEAD_AFTER_SECONDS - 1, True), (DEAD_AFTER_SECONDS, False)])
def test_a_process_on_another_machine_is_known_by_the_age_of_its_heartbeat(age, alive):
    assert is_alive(heartbeat_from_elsewhere(age), NOW) == alive


def test_a_heartbeat_from_before_this_machine_was_started_counts_by_its_age():
    heartbeat = {**new_heartbeat(), "boot": "the one before"}
    assert is_alive(heartbeat, heartbeat["at"])
    assert not is_alive(heartbeat, heartbeat["at"] + DEAD_AFTER_SECONDS)


@pytest.mark.parametrize(
    "heartbeat",
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
def test_a_heartbeat_with_missing_values_counts_as_dead(heartbeat):
    assert not is_alive(heartbeat, NOW)


def test_a_heartbeat_holds_the_step_and_the_usage_of_the_machine():
    heartbeat = new_heartbeat(40, {"cpu_percent": 93.0})
    assert (heartbeat["step"], heartbeat["cpu_percent"], heartbeat["pid"]) == (40, 93.0, os.getpid())


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
def test_a_suspended_process_is_dead_once_its_heartbeat_is_too_old(stopped, silent, alive):
    heartbeat = new_heartbeat(pid=stopped)
    heartbeat["up"] -= silent
    assert whereabouts(heartbeat) == "stopped"
    assert is_stopped(stopped)
    # By the clock that is never set: what the other one says plays no part on the same machine.
    assert [is_alive(heartbeat, now) for now in (0.0, heartbeat["at"], heartbeat["at"] + 1e9)] == [alive] * 3
    assert Watch().is_alive("run", heartbeat) == alive


def test_a_shell_stands_still_when_its_command_does():
    shell = subprocess.Popen(["bash", "-c", "sleep 600; true"])
    try:
        wait_until(lambda: bool(psutil.Process(shell.pid).children()), "the command started")
        (command,) = psutil.Process(shell.pid).children()
        assert whereabouts(new_heartbeat(pid=shell.pid)) == "running"
        command.suspend()
        wait_until(lambda: whereabouts(new_heartbeat(pid=shell.pid)) == "stopped", "the command stopped")
        command.kill()
    finally:
        shell.kill()
        shell.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the start of a process is a time of the wall clock")
def test_a_process_is_recognized_after_the_wall_clock_was_set(monkeypatch):
    heartbeat = new_heartbeat()
    real = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: real(process) + 3600)
    assert whereabouts(heartbeat) == "running"


def test_a_running_process_does_not_count_as_suspended():
    assert not is_stopped(os.getpid())
    assert whereabouts({**new_heartbeat(), "up": -1e9}) == "running"
    assert Watch().is_alive("run", {**new_heartbeat(), "at": 0.0, "up": -1e9})


# --- observing a heartbeat of another machine ---


class Clocks:
    """Two clocks that a test sets: one that only goes forward, and that of the wall."""

    def __init__(self) -> None:
        self.steady, self.wall = 0.0, NOW
        self.watch = Watch(lambda: self.steady, lambda: self.wall)

    def read(self, heartbeat: dict, seconds: float) -> list[bool]:
        """Return whether the process counts as alive, read once a second for that many seconds."""
        alive = []
        for _ in range(int(seconds)):
            self.steady += 1
            self.wall += 1
            alive.append(self.watch.is_alive("run", heartbeat))
        return alive


def test_a_heartbeat_that_is_old_by_its_own_time_counts_as_lost_after_two_and_a_half_intervals():
    clocks = Clocks()
    heartbeat = heartbeat_from_elsewhere(3600)
    assert clocks.watch.is_alive("run", heartbeat)
    assert clocks.watch.doubtful("run", heartbeat) == 2.5 * HEARTBEAT_SECONDS
    assert clocks.read(heartbeat, 24) == [True] * 24
    assert clocks.watch.doubtful("run", heartbeat) == 1
    assert clocks.read(heartbeat, 2) == [False, False]
    assert clocks.watch.doubtful("run", heartbeat) is None


@pytest.mark.parametrize("age", [0, -3600, -1e9], ids=["now", "an_hour_ahead", "decades_ahead"])
def test_a_heartbeat_that_does_not_change_counts_as_lost_in_the_end_whatever_its_time(age):
    clocks = Clocks()
    heartbeat = heartbeat_from_elsewhere(age)
    assert clocks.watch.is_alive("run", heartbeat)
    assert clocks.read(heartbeat, DEAD_AFTER_SECONDS - 1) == [True] * 59
    assert clocks.read(heartbeat, 2) == [False, False]


@pytest.mark.parametrize("age", [3600, 0, -3600])
def test_a_changing_heartbeat_counts_as_alive_whatever_its_time(age):
    clocks = Clocks()
    for count in range(30):
        assert all(clocks.read({**heartbeat_from_elsewhere(age), "beat": count}, 10))


def test_a_wall_clock_that_jumps_during_observation_makes_no_run_dead():
    clocks = Clocks()
    assert all(clocks.read(heartbeat_from_elsewhere(0), 20))
    clocks.wall += 1e6
    assert all(clocks.read(heartbeat_from_elsewhere(0), 4))


def test_a_gap_between_two_reads_restarts_the_observation():
    clocks = Clocks()
    heartbeat = heartbeat_from_elsewhere(3600)
    assert all(clocks.read(heartbeat, 20))
    clocks.steady += 300  # the store was away, or this machine slept
    assert clocks.read(heartbeat, 24) == [True] * 24
    assert not all(clocks.read(heartbeat, 3))


def test_a_dead_run_stays_dead_until_its_next_heartbeat():
    clocks = Clocks()
    heartbeat = heartbeat_from_elsewhere(3600)
    clocks.read(heartbeat, 40)
    clocks.steady += 300
    assert not clocks.watch.is_alive("run", heartbeat)
    assert clocks.watch.is_alive("run", {**heartbeat, "beat": 1})


def test_the_interval_in_a_heartbeat_decides_when_it_counts_as_lost():
    clocks = Clocks()
    slow = {**heartbeat_from_elsewhere(200), "every": 60.0}
    assert is_alive(slow, NOW)
    assert not is_alive({**slow, "every": 10.0}, NOW)
    assert all(clocks.read(slow, 149))


@pytest.mark.parametrize("every", [float("nan"), float("inf"), -1, 0, 1e300, "x", None])
def test_a_nonsensical_interval_keeps_no_run_alive_for_ever(every):
    clocks = Clocks()
    assert not all(clocks.read({**heartbeat_from_elsewhere(1e7), "every": every}, 2000))


@pytest.mark.parametrize(
    ("text", "seconds"), [(None, 10), ("", 10), ("0.5", 0.5), ("0", 0.05), ("1e9", 600), ("x", 10)]
)
def test_the_interval_can_be_set_within_bounds(text, seconds, capsys):
    assert liveness._heartbeat_seconds(text) == seconds
    assert ("MLFLOW_PHASES_BEAT_SECONDS must be a number of seconds, got 'x'" in capsys.readouterr().err) == (
        text == "x"
    )
