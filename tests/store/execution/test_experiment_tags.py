"""The pointer to a phase's newest usable run, written by several runs at once, and refusals that are real."""

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mlflow_plugin.execution.experiment_tags import point
from mlflow_plugin.store import schema

WRITERS = 6


class AtOnce(MlflowClient):
    """A client whose first writes of a tag start together."""

    def __init__(self, uri: str, barrier: Barrier) -> None:
        super().__init__(uri)
        self.barrier: Barrier | None = barrier

    def set_experiment_tag(self, experiment_id: str, key: str, value: Any) -> None:
        if self.barrier:
            self.barrier, barrier = None, self.barrier
            barrier.wait(30)
        super().set_experiment_tag(experiment_id, key, value)


def test_runs_that_end_at_the_same_time_all_point_to_themselves_and_none_fails(demo, store):
    key = schema.LATEST + schema.phase_key("demo", "train")
    for _ in range(5):  # Two of the writers have to meet in the database.
        barrier = Barrier(WRITERS)
        clients = [AtOnce(store, barrier) for _ in range(WRITERS)]
        with ThreadPoolExecutor(WRITERS) as pool:
            starts = [
                pool.submit(point, client, demo.request("train"), f"{number:032x}", "good", None)
                for number, client in enumerate(clients)
            ]
        assert all(start.result() for start in starts)
        tags = demo.client.get_experiment(demo.experiment_id).tags
        assert int(json.loads(tags[key])["run_id"], 16) < WRITERS
        demo.client.delete_experiment_tag(demo.experiment_id, key)


def test_a_tag_that_the_store_refuses_is_an_error(demo, monkeypatch):
    def refuse(*_: Any) -> None:
        raise MlflowException("the database is full")

    monkeypatch.setattr(demo.client, "set_experiment_tag", refuse)
    with pytest.raises(MlflowException, match="full"):
        point(demo.client, demo.request("train"), "0" * 32, "good", None)
