"""What was seen of one process tree, as it was recorded. `tracing` turns it into a trace that is kept with the run."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from mlflow_plugin.observation.calls import RecordedCall
from mlflow_plugin.project.vocabulary import Coverage


class Opening(NamedTuple):
    """The state of a file when it was first opened for reading. Bytes; nanoseconds since 1970."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    opened_ns: int


class Listing(NamedTuple):
    """The state of a folder when it was first listed.

    Attributes:
        mtime_ns: Its time of modification, in nanoseconds since 1970.
        names: The sum of the CRC-32 of all names in it, 0 where that is not known.
    """

    mtime_ns: int
    names: int = 0


@dataclass(frozen=True)
class Recording:
    """The openings, listings and look-ups of a process tree. Paths are absolute, as they were opened, links included.

    Names that are not UTF-8 hold surrogate escapes, as `os.fsdecode` makes them.

    Attributes:
        coverage: How much could be seen.
        began_ns: The beginning of the recording, in nanoseconds since 1970; 0 where it is not known.
        read: Files that were opened for reading before the tree itself had written them, or of which it had kept a part
            then. Those in a folder that the tree moved have the name that they had before.
        written: Files that the tree created, truncated or opened for writing.
        filled: Files that the tree read after it had made them because they were not there.
        folders: Folders that the tree made.
        moved: File or folder that the tree moved -> where it was in the end.
        removed: Files that the tree removed.
        links: Symbolic links behind which paths went on (`current/../rows.csv`, `cd current`) -> the target.
        asked_links: Symbolic links of the user's own folders whose target was asked for -> the target.
        listed: Folders that were listed, listings by the import system left out -> their state then.
        absent: Paths that were looked for and not found.
        looked: Paths of the user's own folders that were looked for and found -> the size of a file whose state was
            asked for, -1 for another path.
        kept: Folders that the tree was to make and that were there.
        text: Python files that were read as text, beside or instead of being imported.
        modules: Files of imported modules.
        packages: Installed packages that were imported -> version.
        variables: Environment variables that the project's own code read by name -> digest of the value, None where no
            digest is kept because it may be a secret, empty where it was not set.
        references: URIs of the tracking store (`models:/m@champion`) -> the version or run that they meant.
        peers: Network peers as `host:port`.
        unseen: One sentence for each thing that could not be seen, and must be asked about.
        values: Environment variable -> the digests of all values that it had when it was read.
        copies: Files of the project's own code that copied the whole environment, or went through it.
        asked: Runs of the tracking store that the project's own code looked up, `-` for no certain one, and the call.
        partly: One sentence for each kind of thing that this way of observing does not see, or that was read and is not
            compared, for the reader to know.
        calls: Steps that were started by `mlflow.run`, through this package.
    """

    coverage: Coverage
    began_ns: int = 0
    read: Mapping[str, Opening] = field(default_factory=dict)
    written: Set[str] = frozenset()
    filled: Set[str] = frozenset()
    folders: Set[str] = frozenset()
    moved: Mapping[str, str] = field(default_factory=dict)
    removed: Set[str] = frozenset()
    links: Mapping[str, str] = field(default_factory=dict)
    asked_links: Mapping[str, str] = field(default_factory=dict)
    listed: Mapping[str, Listing] = field(default_factory=dict)
    absent: Set[str] = frozenset()
    looked: Mapping[str, int] = field(default_factory=dict)
    kept: Set[str] = frozenset()
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
    calls: tuple[RecordedCall, ...] = ()
