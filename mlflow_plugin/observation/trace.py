"""Hold what a run read, as it is kept with the run: as JSON, in columns, and checked when it is read again."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

from mlflow_plugin.observation import trace_json
from mlflow_plugin.observation.calls import Call, merged_calls
from mlflow_plugin.observation.files import Files, ListedFolder, ObservedFile
from mlflow_plugin.observation.findings import Row
from mlflow_plugin.observation.readable import readable
from mlflow_plugin.project.vocabulary import Coverage

MOST_FILES = 200_000
"""A trace holds this many files; the rest is counted and not compared."""
_COVERAGES: tuple[Coverage, ...] = ("none", "python", "full")


class HubRevision(NamedTuple):
    """The revision of a hub repository, and the branch or tag that meant it then; empty for a fixed revision."""

    revision: str
    branch: str = ""


@dataclass(frozen=True)
class Trace:
    """What a run read. Names of files are those of `Places`.

    Attributes:
        coverage: How much could be seen.
        files: Files with their digests.
        absent: Paths that were looked for and not found.
        there: Paths that were looked for and found, and nothing more was asked.
        sizes: Files of which the size was asked for, and that were not opened -> size.
        links: Symbolic links that lead nowhere, whose target was asked for, or behind which paths went on
            (`current/../rows.csv`, `cd current`) -> the target, as a name where it is an absolute path.
        folders: Folders that were listed.
        gone_too: Names of those among them that may be gone: the run made them, or moved them away.
        variables: Environment variable -> digest of its value, None for a possible secret, empty where it was not set.
        packages: Imported package -> version.
        environment_files: Files that describe the environment -> digest.
        references: URI of the tracking store -> the version or run that it meant.
        hub: Repository of a model hub -> its revision.
        peers: Network peers as `host:port`.
        unseen: One sentence for each thing that could not be seen.
        changed_while_read: Names of files and folders that another process changed while the run read them.
        uncompared: Name -> why it has no digest.
        left_out: The number of files beyond `MOST_FILES`.
        looks_left_out: The number of paths that were looked for beyond those that are kept.
        wrote: Names of files that the run made, for a later segment that reads them.
        partly: One sentence for each thing that was not seen, or is not compared, and is mentioned.
        calls: Steps that it started by `mlflow.run`. What these read is in traces of their own.
    """

    coverage: Coverage
    files: Files = field(default_factory=Files)
    absent: tuple[str, ...] = ()
    there: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[ListedFolder, ...] = ()
    gone_too: tuple[str, ...] = ()
    variables: Mapping[str, str | None] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    environment_files: Mapping[str, str] = field(default_factory=dict)
    references: Mapping[str, str] = field(default_factory=dict)
    hub: Mapping[str, HubRevision] = field(default_factory=dict)
    peers: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    changed_while_read: tuple[str, ...] = ()
    uncompared: Mapping[str, str] = field(default_factory=dict)
    left_out: int = 0
    looks_left_out: int = 0
    partly: tuple[str, ...] = ()
    wrote: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()

    @property
    def file_count(self) -> int:
        """The number of files, with those that were left out."""
        return len(self.files) + self.left_out

    @cached_property
    def digest(self) -> str:
        """The sha256 of the trace as JSON, 64 hex digits."""
        return hashlib.sha256(self.to_json()).hexdigest()

    def to_json(self) -> bytes:
        """Return the trace as compact JSON, in ASCII."""
        content: dict[str, Any] = {"format": trace_json.FORMAT, "coverage": self.coverage}
        if len(self.files):
            content["files"] = trace_json.from_files(self.files)
        if self.folders:
            content["folders"] = [list(folder) for folder in self.folders]
        for key in (*trace_json.LISTS, *trace_json.MAPPINGS, "sizes", *trace_json.NUMBERS):
            if value := getattr(self, key):
                content[key] = value
        if self.calls:
            content["calls"] = [call.to_json() for call in self.calls]
        return json.dumps(content, separators=(",", ":"), sort_keys=True).encode("ascii")

    @classmethod
    def from_json(cls, data: bytes) -> "Trace":
        """Return the trace of a text that may come from anybody.

        Raises:
            ValueError: The text is not the JSON of a trace, or that of a newer format.
        """
        content = trace_json.checked(data)
        hub = {name: HubRevision(*entry) for name, entry in trace_json.hub(content).items()}
        if content["coverage"] not in _COVERAGES:
            raise ValueError("`coverage` is none of full, python and none")
        trace = cls(
            coverage=content["coverage"],
            files=trace_json.to_files(content.get("files"), MOST_FILES),
            folders=trace_json.to_folders(content.get("folders", [])),
            hub=hub,
            sizes=trace_json.sizes(content.get("sizes", {})),
            left_out=trace_json.count(content.get("left_out", 0), "left_out"),
            looks_left_out=trace_json.count(content.get("looks_left_out", 0), "looks_left_out"),
            calls=trace_json.calls(content.get("calls", [])),
            **trace_json.plain_columns(content),
        )
        trace.__dict__["digest"] = hashlib.sha256(data).hexdigest()
        return trace

    def merged(self, later: "Trace") -> "Trace":
        """Return the union of this trace and that of a later segment of the same work."""
        files, contradictions = self._merged_files(later)
        made = set(self.wrote)
        kept = list(files.values())[:MOST_FILES]
        folders = {folder.name: folder for folder in later.folders if folder.name not in made}
        for folder in self.folders:
            folders[folder.name] = _merged_folder(folder, folders.get(folder.name))
        present = made | set(later.wrote)
        return replace(
            later,
            coverage=min(self.coverage, later.coverage, key=_COVERAGES.index),
            files=Files.of(kept),
            absent=tuple(sorted({*self.absent, *(name for name in later.absent if name not in made)} - present)),
            there=tuple(sorted({*self.there, *(name for name in later.there if name not in made)})),
            sizes={**{name: size for name, size in later.sizes.items() if name not in made}, **self.sizes},
            links={**{name: target for name, target in later.links.items() if name not in made}, **self.links},
            folders=tuple(folders[name] for name in sorted(folders)),
            gone_too=_union(self.gone_too, later.gone_too),
            variables={**later.variables, **self.variables},
            packages={**later.packages, **self.packages},
            environment_files={**later.environment_files, **self.environment_files},
            references={**later.references, **self.references},
            hub={**later.hub, **self.hub},
            peers=_union(self.peers, later.peers),
            unseen=_union(self.unseen, later.unseen),
            changed_while_read=_union(
                self.changed_while_read,
                (*(name for name in later.changed_while_read if name not in made), *contradictions),
            ),
            uncompared={**later.uncompared, **self.uncompared},
            left_out=self.left_out + later.left_out + len(files) - len(kept),
            looks_left_out=self.looks_left_out + later.looks_left_out,
            partly=_union(self.partly, later.partly),
            wrote=_union(self.wrote, later.wrote),
            calls=merged_calls(self.calls, later.calls),
        )

    def _merged_files(self, later: "Trace") -> tuple[dict[str, ObservedFile], list[str]]:
        """All files by name, and the names of those that the segments found in states that exclude each other."""
        files = {file.name: file for file in self.files}
        made, contradictions = set(self.wrote), []
        for file in later.files:
            earlier = files.get(file.name)
            if earlier is None:
                # The first segment made it, so that the work as a whole wrote it before it read it.
                if file.name not in made:
                    files[file.name] = file
            elif earlier.digest != file.digest or earlier.also != file.also:
                if not earlier.also and not file.also:
                    contradictions.append(file.name)
                also = (earlier.accepted | file.accepted) - {file.digest}
                files[file.name] = file._replace(also=tuple(sorted(also)))
        return files, contradictions

    def listing(self) -> tuple[Row, ...]:
        """Return everything that the run read as plain rows, without comparing anything."""
        rows = [
            Row("module" if file.python else "file", readable(file.name), size=file.size or None) for file in self.files
        ]
        rows += [Row("folder", readable(folder.name), remark=folder.remark) for folder in self.folders]
        rows += [Row("absent", readable(name), remark="was not there") for name in self.absent]
        rows += [Row("file", readable(name), remark="only looked for") for name in self.there]
        rows += [Row("file", readable(name), size=size, remark="only its size") for name, size in self.sizes.items()]
        rows += [Row("file", readable(name), remark=f"a link to {readable(to)}") for name, to in self.links.items()]
        rows += [Row("file", readable(name), remark=readable(why)) for name, why in self.uncompared.items()]
        rows += [Row("variable", readable(name)) for name in self.variables]
        rows += [Row("package", readable(name), remark=readable(version)) for name, version in self.packages.items()]
        rows += [Row("environment file", readable(name)) for name in self.environment_files]
        rows += [Row("reference", readable(uri), remark=readable(meant)) for uri, meant in self.references.items()]
        rows += [Row("hub", readable(name), remark=readable(one.revision[:12])) for name, one in self.hub.items()]
        rows += [Row("step", readable(call.name), remark=call.remark()) for call in self.calls]
        rows += [Row("peer", readable(peer)) for peer in self.peers]
        rows += [Row("unseen", readable(sentence)) for sentence in (*self.unseen, *self.partly)]
        return tuple(rows)


def _merged_folder(earlier: ListedFolder, later: ListedFolder | None) -> ListedFolder:
    if later is None:
        return earlier
    own = set(earlier.own) | set(later.own)
    return earlier._replace(own=tuple(sorted(own)))


def _union(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({*one, *other}))
