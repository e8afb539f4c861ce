"""Plan which checkpoints of a run to keep and which files to delete. Pure: no file is touched here.

Checkpoints share files, so a file may be deleted only when no checkpoint that stays refers to it.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from mlflow_plugin.project.judging import Quality
from mlflow_plugin.project.project import CheckpointPolicy
from mlflow_plugin.store.manifest import MANIFEST_NAME, Manifest


@dataclass(frozen=True)
class StoredCheckpoint:
    """A folder `checkpoints/NAME` as the store holds it. Paths are relative to `checkpoints/`, sizes are in bytes.

    Attributes:
        files: Path -> size of the files that are in this folder now.
        needs: Path -> size of the files that its manifest lists, in this folder and in those of earlier checkpoints.
        metrics: Metric name -> its value when the checkpoint was saved.
        complete: Whether it has a manifest. A folder without one is an interrupted save, or the rest of a removed
            checkpoint that other checkpoints refer to.
        known_bad: Whether an earlier attempt to read it failed.
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
        """Describe a complete checkpoint by its manifest. Without `files` it is assumed to be stored as it says."""
        own = {f"{name}/{path}": entry.size for path, entry in manifest.files.items()}
        if files is None:
            files = {**own, f"{name}/{MANIFEST_NAME}": len(manifest.to_json())}
        needs = own | {path: entry.size for path, entry in manifest.references.items()}
        return cls(name, manifest.step or 0, files, needs, manifest.metrics, known_bad=known_bad)


@dataclass(frozen=True)
class Removal:
    """The checkpoints that a policy keeps and removes.

    Attributes:
        kept: Names of the checkpoints that stay, by rising step.
        checkpoints: Names of the checkpoints that are removed.
        files: Paths to delete, in this order. Manifests come first, so that an interrupted deletion leaves no folder
            that looks like a checkpoint and lacks files.
        bytes: Total size of these files, in bytes.
    """

    kept: tuple[str, ...]
    checkpoints: tuple[str, ...]
    files: tuple[str, ...]
    bytes: int


def plan_removal(
    checkpoints: Collection[StoredCheckpoint], policy: CheckpointPolicy, quality: Quality | None = None
) -> Removal:
    """Plan the removal of a run's outdated checkpoints.

    A checkpoint is valid when it is complete, not known to be bad, and all files that it needs have their size. Of the
    valid ones these stay: the last `keep_last`, at least one; the best `keep_best` by the quality metric at the time of
    the save (of equals the newer); the first at or after each multiple of `keep_every` steps. Everything else is
    removed, except for the files that one of these needs.

    Args:
        checkpoints: All folders below `checkpoints/`, none of which is being written.
        policy: How many stay.
        quality: Without it no checkpoint counts as best.
    """
    present = {path: size for checkpoint in checkpoints for path, size in checkpoint.files.items()}
    valid = sorted((one for one in checkpoints if _is_valid(one, present)), key=lambda one: one.step)
    kept = {one.name: one for one in (*_last(valid, policy), *_best(valid, policy, quality), *_spread(valid, policy))}
    needed = {path for one in kept.values() for path in (*one.needs, f"{one.name}/{MANIFEST_NAME}")}
    return _removal(checkpoints, [one.name for one in valid if one.name in kept], needed)


def remove_all(checkpoints: Collection[StoredCheckpoint]) -> Removal:
    """Plan the removal of all checkpoints."""
    return _removal(checkpoints, (), ())


def _removal(checkpoints: Collection[StoredCheckpoint], kept: Sequence[str], needed: Collection[str]) -> Removal:
    removed = {
        path: size
        for one in checkpoints
        if one.name not in kept
        for path, size in one.files.items()
        if path not in needed
    }
    return Removal(
        kept=tuple(kept),
        # A folder that holds only needed files was removed before.
        checkpoints=tuple(sorted({path.split("/", 1)[0] for path in removed})),
        files=tuple(sorted(removed, key=lambda path: (not _is_manifest(path), path))),
        bytes=sum(removed.values()),
    )


def _is_valid(checkpoint: StoredCheckpoint, present: Mapping[str, int]) -> bool:
    has_all_files = all(present.get(path) == size for path, size in checkpoint.needs.items())
    return checkpoint.complete and not checkpoint.known_bad and has_all_files


def _is_manifest(path: str) -> bool:
    return path.partition("/")[2] == MANIFEST_NAME


def _last(valid: Sequence[StoredCheckpoint], policy: CheckpointPolicy) -> Sequence[StoredCheckpoint]:
    return valid[-max(1, policy.keep_last) :]


def _best(
    valid: Sequence[StoredCheckpoint], policy: CheckpointPolicy, quality: Quality | None
) -> Sequence[StoredCheckpoint]:
    if quality is None or not policy.keep_best:
        return ()
    sign = 1 if quality.higher_is_better else -1
    rated = [one for one in valid if math.isfinite(one.metrics.get(quality.metric, math.nan))]
    return sorted(rated, key=lambda one: (sign * one.metrics[quality.metric], one.step))[-policy.keep_best :]


def _spread(valid: Sequence[StoredCheckpoint], policy: CheckpointPolicy) -> Sequence[StoredCheckpoint]:
    """Return one checkpoint for each multiple of `keep_every`. Saves that are due by time seldom hit the multiple."""
    first: dict[int, StoredCheckpoint] = {}
    for one in valid if policy.keep_every else ():
        first.setdefault(one.step // (policy.keep_every or 1), one)
    return [one for multiple, one in first.items() if multiple > 0]
