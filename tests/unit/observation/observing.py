"""A project on disk, and what was seen of a phase in it."""

import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from mlflow_plugin.observation.comparison import compare
from mlflow_plugin.observation.findings import Findings
from mlflow_plugin.observation.places import Places
from mlflow_plugin.observation.policy import Policy
from mlflow_plugin.observation.recording import Listing, Opening, Recording
from mlflow_plugin.observation.trace import Trace
from mlflow_plugin.observation.tracing import trace_of

SECOND = 1_000_000_000


def opening_of(path: Path) -> Opening:
    """The opening of a file a second after its last change."""
    status = os.stat(path)
    return Opening(
        status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, max(status.st_ctime_ns, 0) + SECOND
    )


def listing_of(path: Path) -> Listing:
    """The listing of a folder as it is."""
    names = sum(zlib.crc32(os.fsencode(name)) for name in os.listdir(path))
    return Listing(os.stat(path).st_mtime_ns, names)


@dataclass
class Observed:
    """Collects what a phase reads and writes; `trace` and `compare` are what the plugin makes of it."""

    folder: Path
    places: Places
    policy: Policy = field(default_factory=Policy)
    seen: dict = field(default_factory=dict)

    def write(self, name: str, content: str | bytes = "1") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def read(self, *names: str | Path) -> "Observed":
        for name in names:
            path = self.folder / name
            self.seen.setdefault("read", {})[str(path)] = opening_of(path)
        return self

    def listed(self, *names: str | Path) -> "Observed":
        for name in names:
            path = self.folder / name
            self.seen.setdefault("listed", {})[str(path)] = listing_of(path)
        return self

    def mark(self, kind: str, *names: str | Path) -> "Observed":
        """Add paths to `written`, `absent`, `text` or `modules`."""
        self.seen.setdefault(kind, set()).update(str(self.folder / name) for name in names)
        return self

    def trace(self, coverage: str = "full", **columns: object) -> Trace:
        recording = Recording(coverage, **self.seen, **columns)
        return Trace.from_json(trace_of(recording, self.policy, self.places).to_json())

    def compare(self, trace: Trace, *, trusted: bool = True, **options: object) -> Findings:
        return compare(trace, self.policy, self.places, trusted=trusted, **options)
