"""A phase that asks and waits for an answer from elsewhere, in a thread."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from simulation import Simulation

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.store import schema
from tests.servers.process import wait_until

BETWEEN = {"fidelity": 0.8, "held_out": 0.8}


def ask_about(demo: Simulation) -> Simulation:
    """A project whose phase train has to be asked about: its run is between poor and good."""
    demo.compute("collect")
    demo.compute("train", metrics=BETWEEN)
    return demo


def open_question(demo: Simulation) -> str:
    """The id of the run that waits for an answer, once there is one."""
    found: list[str] = []

    def looked() -> bool:
        runs = demo.history().search("tags.`phase.verdict` = 'ask'", 1)
        found[:] = [run.run_id for run in runs if run.question and run.status == "RUNNING"]
        return bool(found)

    wait_until(looked, "a run asks")
    return found[0]


@contextmanager
def waiting(demo: Simulation) -> Iterator[tuple[str, list[Any]]]:
    """A request for train that waits in a thread: its run's id, and a list that will hold what it came to."""
    outcome: list[Any] = []

    def settle() -> None:
        try:
            outcome.append(demo.settle("train", decide="wait"))
        except PhaseError as error:
            outcome.append(error)

    thread = threading.Thread(target=settle)
    thread.start()
    run_id = open_question(demo)
    try:
        yield run_id, outcome
    finally:
        if not outcome:
            demo.client.set_tag(run_id, schema.ANSWER, "A")  # Whatever went wrong, the thread must end.
        thread.join(60)
