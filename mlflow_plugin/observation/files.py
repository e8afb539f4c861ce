"""The files and folders of a trace. Columns instead of objects, since a verdict may go through 10,000 of them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

DIGEST_BYTES = 32
GONE = ""
"""Stands for the absence of a file among the states that count as unchanged."""


class ObservedFile(NamedTuple):
    """One file that a phase read.

    Attributes:
        name: Its name, see `Places`.
        size: Bytes when it was digested.
        digest: sha256, 64 hex digits. Empty for a file that the run removed after reading it.
        python: True when the digest is that of the syntax tree: the file was imported.
        also: Not empty when the run changed the file itself: the digests that it had before, as far as they are known,
            which count as unchanged too. `GONE` stands for its absence.
    """

    name: str
    size: int
    digest: str
    python: bool = False
    also: tuple[str, ...] = ()

    @property
    def accepted(self) -> frozenset[str]:
        """All digests that count as unchanged."""
        return frozenset({self.digest, *self.also})


@dataclass(frozen=True)
class Files:
    """Files in columns, grouped by their folders.

    Attributes:
        folders: Name of each folder -> bare names of the files in it.
        sizes: Size of each file, in this order.
        digests: 32 bytes for each.
        python: Positions of the files that count by their syntax tree.
        also: Position -> further digests that count as unchanged.
    """

    folders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sizes: tuple[int, ...] = ()
    digests: bytes = b""
    python: frozenset[int] = frozenset()
    also: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, files: Iterable[ObservedFile]) -> "Files":
        """Return the columns for these files; of two with one name the last counts."""
        by_name = {split_name(file.name): file for file in files}
        ordered = [(place, by_name[place]) for place in sorted(by_name)]
        folders: dict[str, list[str]] = {}
        for (folder, base), _ in ordered:
            folders.setdefault(folder, []).append(base)
        rows = [file for _, file in ordered]
        return cls(
            {folder: tuple(names) for folder, names in folders.items()},
            tuple(file.size for file in rows),
            b"".join(bytes.fromhex(file.digest or "00" * DIGEST_BYTES) for file in rows),
            frozenset(position for position, file in enumerate(rows) if file.python),
            {position: file.also for position, file in enumerate(rows) if file.also},
        )

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.sizes)

    def __iter__(self) -> Iterator[ObservedFile]:
        """Yield each file."""
        position = 0
        for folder, names in self.folders.items():
            for name in names:
                yield self.file(position, folder, name)
                position += 1

    def file(self, position: int, folder: str, base: str) -> ObservedFile:
        """Return the file at a position, whose folder and bare name the caller has."""
        digest = self.digests[DIGEST_BYTES * position : DIGEST_BYTES * (position + 1)].hex()
        also = self.also.get(position, ())
        return ObservedFile(
            join_name(folder, base),
            self.sizes[position],
            "" if digest.strip("0") == "" else digest,
            position in self.python,
            also,
        )


class ListedFolder(NamedTuple):
    """A folder whose names a phase listed.

    Attributes:
        name: The folder's name, see `Places`.
        digest: Digest of the names that counted.
        number: Their number.
        names: The names themselves, None when they are too many.
        own: Names that the run made itself; they never count.
    """

    name: str
    digest: str
    number: int
    names: tuple[str, ...] | None = None
    own: tuple[str, ...] = ()

    @property
    def remark(self) -> str:
        """What is kept of it, for lists."""
        return f"its list of {self.number:,} name{'s' if self.number != 1 else ''}"


def split_name(name: str) -> tuple[str, str]:
    """Return the name of the folder and the bare name.

    >>> split_name("data/rows.csv"), split_name("rows.csv"), split_name("root data: rows.csv")
    (('data', 'rows.csv'), ('.', 'rows.csv'), ('root data: .', 'rows.csv'))
    """
    folder, separator, base = name.rpartition("/")
    if separator:
        return folder or "/", base
    root, separator, base = name.rpartition(": ")
    if separator and root.startswith("root "):
        return f"{root}: .", base
    return ".", name


def join_name(folder: str, base: str) -> str:
    """Return the name of a file, from `split_name`."""
    if folder == ".":
        return f"./{base}" if base.startswith("root ") and ": " in base else base
    if folder == "/":
        return f"/{base}"
    if folder.startswith("root ") and folder.endswith(": ."):
        return folder[:-1] + base
    return f"{folder}/{base}"
