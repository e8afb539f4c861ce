"""A background thread that keeps telling the tracking store that this process lives, how far it is and how busy."""

import threading
from types import TracebackType
from typing import Self

from mlflow.exceptions import MlflowException

from mlflow_plugin.accounting import usage
from mlflow_plugin.liveness import BEAT_SECONDS
from mlflow_plugin.records import Records


class Heart:
    """Beats for a run while the block is open. A store that does not answer costs a beat, never the run."""

    def __init__(self, records: Records, run_id: str) -> None:
        self.records, self.run_id = records, run_id
        self.step: int | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat {run_id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=2)

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            try:
                self.records.beat(self.run_id, self.step, usage())
            except (MlflowException, OSError):
                continue
