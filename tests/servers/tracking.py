"""`mlflow server`: one process that can be killed and started again at the same address."""

import shutil
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.servers.process import ServerProcess, free_ports


class TrackingServer:
    """A tracking server that hands out the artifacts at `artifacts` (a folder, or `s3://...`) itself.

    `backend` is the URI of its database, or the path of an sqlite file to copy. `app_name` is one of the applications
    that `mlflow server` knows, `static_prefix` the path that everything is below, as in `/mlflow`.
    """

    def __init__(
        self,
        folder: Path,
        backend: str | Path,
        artifacts: str = "",
        variables: Mapping[str, str] | None = None,
        *,
        app_name: str = "",
        static_prefix: str = "",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(backend, Path):
            backend = f"sqlite:///{shutil.copyfile(backend, folder / 'mlflow.db')}"
        self.folder, self._variables = folder, dict(variables or {})
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}{static_prefix}"
        words = [Path(sys.executable).parent / "mlflow", "server", "--backend-store-uri", backend, "--workers", "1"]
        words += ["--artifacts-destination", artifacts or str(folder / "artifacts")]
        words += ["--host", "127.0.0.1", "--port", str(self.port)]
        words += ["--app-name", app_name] if app_name else []
        words += ["--static-prefix", static_prefix] if static_prefix else []
        self._server = ServerProcess("mlflow-server", words, folder, self._answers)

    def start(self) -> None:
        # Without its job runner it is one process instead of eleven.
        self._server.start({"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **self._variables})

    def _answers(self) -> bool:
        with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(f"{self.url}/health", timeout=20):
            return True
        return False

    @property
    def log(self) -> str:
        return self._server.log.read_text(encoding="utf-8", errors="replace")

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        self._server.stop(number)

    def file(self, run_id: str, name: str) -> Path:
        """Where a server with a folder of its own keeps a file of a run."""
        (found,) = (self.folder / "artifacts").rglob(f"{run_id}/artifacts/{name}")
        return found
