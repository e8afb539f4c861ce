"""The background thread that says that a process lives."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from mlflow.exceptions import MlflowException

from mlflow_plugin.execution import heartbeat as heart
from mlflow_plugin.execution.heartbeat import Heartbeat
from mlflow_plugin.machine import liveness
from mlflow_plugin.store import schema
from tests.servers.process import wait_until


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(heart, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(liveness, "HEARTBEAT_SECONDS", 0.05)


@pytest.fixture
def asleep():
    """The id of a process that sleeps."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process.pid
    process.kill()
    process.wait()


def beats(demo, run_id: str) -> int:
    return int(demo.run(run_id).heartbeat.get("beat", 0))


def test_a_heart_beats_at_once_and_again_and_says_how_far_the_work_is(demo):
    run_id, _ = demo.start("collect")
    with Heartbeat(demo.records, run_id) as beating:
        beating.total = 10
        for step in (1, 2, 3):
            beating.step = step
        wait_until(lambda: beats(demo, run_id) > 2, "three beats")
    beat = demo.run(run_id).heartbeat
    assert (beat["pid"], beat["step"], beat["total"], beat["every"]) == (os.getpid(), 3, 10, 0.05)
    assert beat["since_step"] >= 0
    assert beat["seconds_per_step"] >= 0
    assert beat["process_percent"] >= 0


@pytest.mark.parametrize("error", [MlflowException("away"), OSError("away"), RuntimeError("a fault of a driver")])
def test_a_store_that_does_not_answer_costs_beats_and_not_the_heart(demo, monkeypatch, error):
    run_id, _ = demo.start("collect")
    real, away = demo.client.get_run, threading.Event()

    def get_run(wanted: str) -> object:
        if away.is_set() and threading.current_thread().name == "heartbeat request":
            raise error
        return real(wanted)

    monkeypatch.setattr(demo.client, "get_run", get_run)
    away.set()
    with Heartbeat(demo.records, run_id):
        time.sleep(0.2)
        assert beats(demo, run_id) == 0
        away.clear()
        wait_until(lambda: beats(demo, run_id) > 1, "beats again")


def test_a_request_that_hangs_does_not_hold_up_the_next_beats(demo, monkeypatch):
    run_id, _ = demo.start("collect")
    real, hanging, freed = demo.client.get_run, threading.Lock(), threading.Event()

    def get_run(wanted: str) -> object:
        # MLflow's client waits for minutes between two tries.
        if threading.current_thread().name == "heartbeat request" and hanging.acquire(blocking=False):
            freed.wait(60)
        return real(wanted)

    monkeypatch.setattr(demo.client, "get_run", get_run)
    with Heartbeat(demo.records, run_id):
        wait_until(lambda: beats(demo, run_id) > 1, "beats beside the request that hangs")
        assert hanging.locked()
        assert not freed.is_set()
        freed.set()


def test_a_failure_to_measure_does_not_end_the_beating(demo, monkeypatch):
    run_id, _ = demo.start("collect")
    real, failures = heart.usage, []

    def usage() -> dict:
        if len(failures) < 2:
            failures.append(1)
            raise RuntimeError("a fault of a driver")
        return real()

    monkeypatch.setattr(heart, "usage", usage)
    with Heartbeat(demo.records, run_id):
        wait_until(lambda: beats(demo, run_id) > 2, "beats after two failures")
    assert len(failures) == 2


def test_a_heart_learns_of_an_heir_and_is_silent_from_then_on(demo, capsys):
    run_id, _ = demo.start("collect")
    demo.client.set_tag(run_id, schema.SUCCESSOR, "0123456789")
    with Heartbeat(demo.records, run_id) as beating:
        wait_until(lambda: beating.successor, "the successor known")
        before = demo.tags(run_id)[schema.HEARTBEAT]
        time.sleep(0.2)
        assert demo.tags(run_id)[schema.HEARTBEAT] == before
    assert beating.successor == "0123456789"
    assert f"run {run_id[:8]} was taken over by 01234567 while this process stood still" in capsys.readouterr().err


def test_a_run_that_was_taken_for_dead_and_lives_is_running_again_after_its_next_beat(demo):
    run_id, _ = demo.start("collect")
    demo.records.presume_dead(demo.run(run_id), "nothing")
    assert demo.run(run_id).status == "KILLED"
    with Heartbeat(demo.records, run_id):
        wait_until(lambda: not demo.run(run_id).presumed_dead, "the mark taken back")
    assert demo.run(run_id).status == "RUNNING"
    assert demo.run(run_id).reason.startswith("alive, although its heartbeat was lost at ")


def test_a_run_that_ended_as_killed_by_itself_is_not_called_back_to_life(demo):
    run_id, _ = demo.start("collect")
    demo.records.fail(run_id, "a signal", status="KILLED")
    with Heartbeat(demo.records, run_id):
        wait_until(lambda: beats(demo, run_id) > 1, "beats")
    assert (demo.run(run_id).status, demo.run(run_id).reason) == ("KILLED", "a signal")


def test_the_heart_of_a_starter_names_the_process_that_computes(demo, asleep):
    run_id, _ = demo.start("collect")
    with Heartbeat(demo.records, run_id, at_once=False) as beating:
        beating.pid = asleep
        wait_until(lambda: demo.run(run_id).heartbeat["pid"] == asleep, "the process named")
    assert demo.run(run_id).heartbeat["by"] == os.getpid()


def test_the_heart_of_a_starter_is_silent_for_good_once_the_process_beats_for_itself(demo, asleep):
    run_id, _ = demo.start("collect")
    own = {**liveness.new_heartbeat(5, pid=asleep), "by": asleep}
    demo.records.heartbeat(demo.run(run_id), own)
    with Heartbeat(demo.records, run_id, at_once=False) as beating:
        beating.pid = asleep
        time.sleep(0.3)
    assert demo.run(run_id).heartbeat == own


def test_nothing_is_said_for_a_process_that_stands_still(demo, asleep):
    run_id, _ = demo.start("collect")
    os.kill(asleep, signal.SIGSTOP)
    wait_until(lambda: liveness.is_stopped(asleep), "the process stopped")
    with Heartbeat(demo.records, run_id, at_once=False) as beating:
        beating.pid = asleep
        time.sleep(0.3)
        assert beats(demo, run_id) == 0
        os.kill(asleep, signal.SIGCONT)
        wait_until(lambda: beats(demo, run_id), "a beat once it goes on")


def test_the_same_step_told_twice_is_no_progress(demo):
    run_id, _ = demo.start("collect")
    beating = Heartbeat(demo.records, run_id)
    beating.step = 3
    before = beating._stepped
    beating.step = 3
    assert beating._stepped == before
    beating.step = 4
    assert beating._stepped > before


def test_a_second_loop_has_a_pace_of_its_own(demo, monkeypatch):
    now = iter(range(0, 1000))
    run_id, _ = demo.start("collect")
    beating = Heartbeat(demo.records, run_id)
    with monkeypatch.context() as patched:
        patched.setattr(heart.time, "monotonic", lambda: next(now) * 10.0)
        for step in (0, 5, None, 0, 1):
            beating.step = step
    assert beating._beat()["seconds_per_step"] == 10.0
