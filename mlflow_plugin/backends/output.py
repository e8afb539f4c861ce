"""What the commands of phases print while several are computed side by side: shown with the phase's name, and kept."""

import logging
import shutil
import tempfile
import threading
from pathlib import Path
from typing import IO

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mlflow_plugin.store import schema

__all__ = ["Output"]

_logger = logging.getLogger(__name__)

_LOOK_EVERY_SECONDS = 0.1


class Output:
    """The output of one command: each line is shown after the name of its phase, and all are kept with the run.

    The command writes into a file, not into a pipe: it must go on when this process is killed.
    """

    def __init__(self, phase: str) -> None:
        self._phase = phase
        self._folder = Path(tempfile.mkdtemp(prefix="mlflow-phases-output-"))
        self._path = self._folder / Path(schema.OUTPUT_FILE).name
        self.file: IO[bytes] = self._path.open("wb")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._show, name=f"output of {phase}", daemon=True)
        self._thread.start()

    def _show(self) -> None:
        begun = b""
        with self._path.open("rb") as reading:
            while True:
                ended = self._ended.wait(_LOOK_EVERY_SECONDS)
                *lines, begun = (begun + reading.read()).split(b"\n")
                for line in [*lines, *([begun] if ended and begun else [])]:
                    _logger.info(f"{self._phase} | {line.decode('utf-8', 'replace').rstrip()}")
                if ended:
                    return

    def keep(self, client: MlflowClient, run_id: str) -> None:
        """Show the rest, and upload everything. A failure is logged: the work can do without."""
        self._ended.set()
        self._thread.join()
        self.file.close()
        try:
            if self._path.stat().st_size:
                client.log_artifact(run_id, str(self._path), str(Path(schema.OUTPUT_FILE).parent))
        except (MlflowException, OSError) as error:
            _logger.warning(f"{self._phase}: its output is not kept: {' '.join(str(error).split())[:200]}")
        shutil.rmtree(self._folder, ignore_errors=True)
