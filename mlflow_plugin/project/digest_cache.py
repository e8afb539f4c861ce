"""The cache behind `digests.remembered`: one sqlite file in the user's cache folder, shared by concurrent processes."""

import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlite3

_ROWS_KEPT = 100_000
_PENDING_LIMIT = 10_000
_VARIABLES = 500
"""Of one query; sqlite before 3.32 takes 999."""
_SCHEMA = """CREATE TABLE IF NOT EXISTS remembered (
    path TEXT NOT NULL, kind TEXT NOT NULL, signature TEXT NOT NULL, value TEXT NOT NULL, UNIQUE (path, kind))"""


def _cache_file() -> str:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "mlflow-phases", "digests.sqlite")


class DigestCache:
    """Values of files by path, kind and signature. Reads are immediate; writes are collected into one transaction."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._file: str | None = None
        self._connection: sqlite3.Connection | None = None
        self._pending: dict[tuple[str, str], tuple[str, str]] = {}

    def find(self, path: str, kind: str, signature: str) -> str | None:
        """Return the value that was kept with this signature."""
        with self._lock:
            if self._pending.get((path, kind), ("", ""))[0] == signature:
                return self._pending[path, kind][1]
            query = "SELECT value FROM remembered WHERE path = ? AND kind = ? AND signature = ?"
            row = self._row(query, path, kind, signature)
            return row[0] if row and isinstance(row[0], str) else None

    def find_many(self, paths: Sequence[str], kind: str) -> dict[str, tuple[str, str]]:
        """Return the signature and the value that were kept last, by path, as far as they are known."""
        known: dict[str, tuple[str, str]] = {}
        with self._lock:
            for start in range(0, len(paths), _VARIABLES):
                known |= self._rows(paths[start : start + _VARIABLES], kind)
            return known | {path: kept for path in paths if (kept := self._pending.get((path, kind)))}

    def last(self, path: str, kind: str) -> tuple[str, str] | None:
        """Return the signature and the value that were kept last."""
        with self._lock:
            if pending := self._pending.get((path, kind)):
                return pending
            row = self._row("SELECT signature, value FROM remembered WHERE path = ? AND kind = ?", path, kind)
        return (str(row[0]), str(row[1])) if row else None

    def keep(self, path: str, kind: str, signature: str, value: str) -> None:
        """Keep a value in place of an earlier one."""
        with self._lock:
            self._pending[path, kind] = (signature, value)
            full = len(self._pending) >= _PENDING_LIMIT
        if full:
            self.flush()

    def flush(self) -> None:
        """Write the values since the last flush to the file."""
        with self._lock:
            pending, self._pending = self._pending, {}
            connection = self._open() if pending else None
            if connection is None:
                return
            try:
                with connection:
                    connection.executemany(
                        "INSERT OR REPLACE INTO remembered (path, kind, signature, value) VALUES (?, ?, ?, ?)",
                        [(path, kind, *kept) for (path, kind), kept in pending.items()],
                    )
                    # Replacing a row renews its rowid, so the smallest rowids are those written longest ago.
                    connection.execute(
                        "DELETE FROM remembered WHERE rowid <= (SELECT max(rowid) FROM remembered) - ?", (_ROWS_KEPT,)
                    )
            except Exception as error:  # Any error of sqlite makes the cache unusable, never the digest.
                self._give_up(error)

    def _row(self, query: str, *values: str) -> "tuple[Any, ...] | None":
        connection = self._open()
        if connection is None:
            return None
        try:
            row: tuple[Any, ...] | None = connection.execute(query, values).fetchone()
        except Exception as error:  # As above.
            self._give_up(error)
            return None
        return row

    def _rows(self, paths: Sequence[str], kind: str) -> dict[str, tuple[str, str]]:
        connection = self._open()
        if connection is None:
            return {}
        marks = ",".join("?" * len(paths))
        query = f"SELECT path, signature, value FROM remembered WHERE kind = ? AND path IN ({marks})"
        try:
            rows = connection.execute(query, (kind, *paths)).fetchall()
        except Exception as error:  # As above.
            self._give_up(error)
            return {}
        return {path: (str(signature), str(value)) for path, signature, value in rows}

    def _open(self) -> "sqlite3.Connection | None":
        file = _cache_file()
        if file == self._file:
            return self._connection
        self._file, self._connection = file, None
        try:
            import sqlite3  # Here, since most commands digest no file.

            os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
            self._connection = sqlite3.connect(file, timeout=0.2, check_same_thread=False)
            self._connection.execute(_SCHEMA)
        except Exception as error:  # As above.
            self._give_up(error)
        return self._connection

    def _give_up(self, error: Exception) -> None:
        """Work without a cache from now on. A damaged file is removed, so that the next process creates a new one."""
        self._connection = None
        damaged = getattr(error, "sqlite_errorname", "") in ("SQLITE_NOTADB", "SQLITE_CORRUPT")
        if damaged and self._file:
            try:
                os.unlink(self._file)
            except OSError:
                return
