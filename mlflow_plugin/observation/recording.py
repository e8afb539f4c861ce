"""What was seen of one process tree, as it was recorded. `tracing` turns it into a trace that is kept with the run."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from mlflow_plugin.project.vocabulary import Coverage


class Opening(NamedTuple):
    """The state of a file when it was first opened for reading. Bytes; nanoseconds since 1970."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    opened_ns: int


@dataclass(frozen=True)
class Recording:
    """The openings, listings and look-ups of a process tree. Paths are absolute, as they were opened, links included.

    Names that are not UTF-8 hold surrogate escapes, as `os.fsdecode` makes them.

    Attributes:
        coverage: How much could be seen.
        read: Files that were opened for reading before the tree itself had written them.
        written: Files that the tree created, truncated or opened for writing.
        listed: Folders that were listed, listings by the import system left out -> their mtime in nanoseconds then.
        absent: Paths that were looked for and not found.
        text: Python files that were read as text, beside or instead of being imported.
        modules: Files of imported modules.
        packages: Installed packages that were imported -> version.
        variables: Environment variables that the project's own code read by name -> digest of the value, None where no
            digest is kept because it may be a secret, empty where it was not set.
        references: URIs of the tracking store (`models:/m@champion`) -> the version or run that they meant.
        peers: Network peers as `host:port`.
        unseen: One sentence for each thing that could not be seen.
        values: Environment variable -> the digests of all values that it had when it was read.
        copies: Files of the project's own code that copied the whole environment, or went through it.
        asked: Runs of the tracking store that the project's own code looked up, `-` for no certain one, and the call.
        partly: One sentence for each thing that was read, is not compared, and is to be mentioned.
    """

    coverage: Coverage
    read: Mapping[str, Opening] = field(default_factory=dict)
    written: Set[str] = frozenset()
    listed: Mapping[str, int] = field(default_factory=dict)
    absent: Set[str] = frozenset()
    text: Set[str] = frozenset()
    modules: Set[str] = frozenset()
    packages: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str | None] = field(default_factory=dict)
    references: Mapping[str, str] = field(default_factory=dict)
    peers: Set[str] = frozenset()
    unseen: tuple[str, ...] = ()
    values: Mapping[str, Set[str | None]] = field(default_factory=dict)
    copies: Set[str] = frozenset()
    asked: Set[tuple[str, str]] = frozenset()
    partly: tuple[str, ...] = ()
