"""Which checkpoints of a run stay, which go, and which files can be deleted without harm to one that stays. Pure."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from mlflow_plugin.project.project import CheckpointPolicy, Quality
from mlflow_plugin.store.manifest import MANIFEST_NAME, Manifest


@dataclass(frozen=True)
class StoredCheckpoint:
    """A folder `checkpoints/NAME` as the store holds it. Paths are relative to `checkpoints/`, sizes in bytes.

    `files` are there now, below this folder; `needs` are those that its manifest asks for, here and, by reference, in
    the folders of earlier checkpoints; `complete` says that it has a manifest, without which it is no checkpoint: a
    save that was cut short, or what others still need of one that was removed.
    """

    name: str
    step: int
    files: Mapping[str, int]
    needs: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    complete: bool = True
    known_bad: bool = False

    @classmethod
    def of(
        cls, name: str, manifest: Manifest, files: Mapping[str, int] | None = None, *, known_bad: bool = False
    ) -> "StoredCheckpoint":
        """A complete checkpoint; without `files` it is taken to be there as its manifest says."""
        own = {f"{name}/{path}": entry.size for path, entry in manifest.files.items()}
        if files is None:
            files = {**own, f"{name}/{MANIFEST_NAME}": len(manifest.to_json())}
        needs = own | {path: entry.size for path, entry in manifest.references.items()}
        return cls(name, manifest.step or 0, files, needs, manifest.metrics, known_bad=known_bad)


@dataclass(frozen=True)
class Removal:
    """What a policy takes away. `files` are in the order in which they have to be deleted: first every manifest, so
    that a deletion which is cut short leaves no folder that looks like a checkpoint and is none.
    """

    kept: tuple[str, ...]
    checkpoints: tuple[str, ...]
    files: tuple[str, ...]
    bytes: int


def plan_removal(
    checkpoints: Collection[StoredCheckpoint], policy: CheckpointPolicy, quality: Quality | None = None
) -> Removal:
    """What goes of a run's checkpoints, given all folders that there are below `checkpoints/` and none in the making.

    Sound is a checkpoint that is complete, not known to be bad, and has all files that it needs at their size. Of the
    sound ones stay: the last `keep_last`, at least one; the best `keep_best` by the quality metric that was logged
    when they were saved, of equals the newer; the first at or after each multiple of `keep_every` steps. All else
    goes, but for the files that one of these needs.
    """
    present = {path: size for checkpoint in checkpoints for path, size in checkpoint.files.items()}
    sound = sorted((one for one in checkpoints if _is_sound(one, present)), key=lambda one: one.step)
    kept = {one.name: one for one in (*_last(sound, policy), *_best(sound, policy, quality), *_spread(sound, policy))}
    needed = {path for one in kept.values() for path in (*one.needs, f"{one.name}/{MANIFEST_NAME}")}
    return _removal(checkpoints, [one.name for one in sound if one.name in kept], needed)


def remove_all(checkpoints: Collection[StoredCheckpoint]) -> Removal:
    """What goes when nothing is to stay."""
    return _removal(checkpoints, (), ())


def _removal(checkpoints: Collection[StoredCheckpoint], kept: Sequence[str], needed: Collection[str]) -> Removal:
    going = {
        path: size
        for one in checkpoints
        if one.name not in kept
        for path, size in one.files.items()
        if path not in needed
    }
    return Removal(
        kept=tuple(kept),
        # A folder of which only needed files are left was dealt with before.
        checkpoints=tuple(sorted({path.split("/", 1)[0] for path in going})),
        files=tuple(sorted(going, key=lambda path: (not _is_manifest(path), path))),
        bytes=sum(going.values()),
    )


def _is_sound(checkpoint: StoredCheckpoint, present: Mapping[str, int]) -> bool:
    whole = all(present.get(path) == size for path, size in checkpoint.needs.items())
    return checkpoint.complete and not checkpoint.known_bad and whole


def _is_manifest(path: str) -> bool:
    return path.partition("/")[2] == MANIFEST_NAME


def _last(sound: Sequence[StoredCheckpoint], policy: CheckpointPolicy) -> Sequence[StoredCheckpoint]:
    return sound[-max(1, policy.keep_last) :]


def _best(
    sound: Sequence[StoredCheckpoint], policy: CheckpointPolicy, quality: Quality | None
) -> Sequence[StoredCheckpoint]:
    if quality is None or not policy.keep_best:
        return ()
    sign = 1 if quality.higher_is_better else -1
    rated = [one for one in sound if math.isfinite(one.metrics.get(quality.metric, math.nan))]
    return sorted(rated, key=lambda one: (sign * one.metrics[quality.metric], one.step))[-policy.keep_best :]


def _spread(sound: Sequence[StoredCheckpoint], policy: CheckpointPolicy) -> Sequence[StoredCheckpoint]:
    """One checkpoint for each multiple of `keep_every`: saves that are due by time seldom fall on the multiple."""
    first: dict[int, StoredCheckpoint] = {}
    for one in sound if policy.keep_every else ():
        first.setdefault(one.step // (policy.keep_every or 1), one)
    return [one for multiple, one in first.items() if multiple > 0]
