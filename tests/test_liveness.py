import json
import os
import subprocess
import sys

import psutil
import pytest

from mlflow_plugin.liveness import DEAD_AFTER_SECONDS, boot_id, heartbeat, is_alive

NOW = 1_772_366_400.0


def beat_from_elsewhere(age: float) -> dict:
    return {"at": NOW - age, "host": "another-machine", "boot": "another", "pid": os.getpid(), "began": 1.0}


def test_this_process_is_alive_however_old_its_heartbeat():
    assert is_alive({**heartbeat(), "at": 0.0}, NOW)


def test_a_process_that_ended_is_dead_however_fresh_its_heartbeat():
    code = "import json; from mlflow_plugin.liveness import heartbeat; print(json.dumps(heartbeat()))"
    ended = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert ended["boot"] == boot_id()
    assert not is_alive(ended, ended["at"])


def test_a_process_id_that_was_given_to_another_process_is_not_taken_for_the_first():
    beat = heartbeat()
    assert not is_alive({**beat, "began": beat["began"] - 100}, beat["at"])


def test_a_process_that_ended_and_was_not_collected_is_dead():
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    began = psutil.Process(child.pid).create_time()
    try:
        assert not is_alive({**heartbeat(), "pid": child.pid, "began": began}, NOW)
    finally:
        child.wait()


@pytest.mark.parametrize(("age", "alive"), [(0, True), (DEAD_AFTER_SECONDS - 1, True), (DEAD_AFTER_SECONDS, False)])
def test_a_process_on_another_machine_is_known_by_the_age_of_its_heartbeat(age, alive):
    assert is_alive(beat_from_elsewhere(age), NOW) == alive


def test_a_heartbeat_from_before_this_machine_was_started_counts_by_its_age():
    beat = {**heartbeat(), "boot": "the one before"}
    assert is_alive(beat, beat["at"])
    assert not is_alive(beat, beat["at"] + DEAD_AFTER_SECONDS)


@pytest.mark.parametrize(
    "beat",
    [
        {},
        {"at": None},
        {"at": "now"},
        {"boot": "x", "host": "y"},
        {**heartbeat(), "pid": None},
        {**heartbeat(), "pid": "x"},
        {**heartbeat(), "began": None},
        {**heartbeat(), "pid": -1},
    ],
)
def test_a_heartbeat_that_says_too_little_is_no_sign_of_life(beat):
    assert not is_alive(beat, NOW)


def test_a_heartbeat_holds_the_step_and_what_the_machine_is_busy_with():
    beat = heartbeat(40, {"cpu_percent": 93.0})
    assert (beat["step"], beat["cpu_percent"], beat["pid"]) == (40, 93.0, os.getpid())
