"""Put the files that a run left in the project back, where another run's lie there or none.

What lies in the way is either stored with another run of the phase, and is replaced, or is not: then a person has made
or edited it, and it is moved aside. Nothing is deleted that could not be put back.
"""

import logging
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mlflow_plugin.checkout.lock import own_folder
from mlflow_plugin.checkout.placing import UNFINISHED
from mlflow_plugin.checkout.source import own_copies, sources_of
from mlflow_plugin.checkout.standing import Standing, compare, digests_of, project_files
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.outputs import any_outputs, declared_files, is_declared
from mlflow_plugin.project.project import Phase, Project
from mlflow_plugin.store.history import History
from mlflow_plugin.store.manifest import FileEntry
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.run_reader import AT_MOST
from mlflow_plugin.store.sets import phases_of, with_members

__all__ = ["Checkout", "checkouts", "clear", "look", "look_at_each", "make_writable", "put_back"]

_logger = logging.getLogger(__name__)

_ASIDE = "aside"
_OF_MATRIX = 200


@dataclass(frozen=True)
class Checkout:
    """The files of one run in the project.

    Attributes:
        phase: The phase, which declares outputs.
        run: Its run.
        files: What the run left, by name in the project.
        standing: What of it is there.
        by_hand: Files in the way that no run of the phase has stored, so that a person must have made or edited them.
    """

    phase: Phase
    run: PhaseRun
    files: Mapping[str, FileEntry]
    standing: Standing
    by_hand: tuple[str, ...] = ()

    def describe(self) -> str:
        """Say how many files of which run have to be put back."""
        count = len(self.standing.missing) + len(self.standing.changed)
        return f"{count} file{'' if count == 1 else 's'} of {self.run.phase} {self.run.short}"


def checkouts(history: History, project: Project, inputs: Mapping[str, PhaseRun]) -> list[Checkout]:
    """Return the runs whose files have to lie in the project for a phase that is made from `inputs`, earliest first.

    These are the inputs and all that they were made from, as far as their phases declare outputs. Where two runs of one
    phase are among them, the one that is nearer counts.
    """
    if not any(phase.outputs for phase in project.phases.values()):
        return []
    nearest: dict[str, PhaseRun] = {}
    pending = list(inputs.values())
    while pending:
        for run in pending:
            nearest.setdefault(run.phase, run)
        found = history.runs([used for run in pending for used in (*run.inputs.values(), *run.members)])
        pending = [run for run in found.values() if run.phase not in nearest]
    order = [phase for phase in project.order(project.phases) if phase.name in nearest and phase.outputs]
    return [one for phase in order for one in look_at_each(history, project, phase, nearest[phase.name])]


def look_at_each(history: History, project: Project, phase: Phase, run: PhaseRun) -> list[Checkout]:
    """Compare the project with what a run left there; with what each run of a set left, and with all of them."""
    found = with_members(history, run)
    each = [look(history, project, one, its_run) for one, its_run in phases_of(phase, found)]
    return [*each, look(history, project, phase, found)] if found.members else each


def look(history: History, project: Project, phase: Phase, run: PhaseRun, *, fresh: bool = False) -> Checkout:
    """Compare the project with what a run left there. Reads, never writes.

    Args:
        history: The runs.
        project: The project.
        phase: The phase, which declares outputs.
        run: Its run.
        fresh: Read the bytes of all files again, as files that others may write to through hard links need it.

    Raises:
        PhaseError: The manifest of the run, or a file, cannot be read.
    """
    if run.members:
        return _look_beside_set(history, project, phase, with_members(history, run))
    files = project_files(run)
    if not files:
        return Checkout(phase, run, files, Standing())
    standing = compare(project.directory_of(phase), phase.outputs or (), files, fresh=fresh)
    in_the_way = [*standing.changed, *standing.extra]
    return Checkout(phase, run, files, standing, _made_by_hand(history, project, phase, in_the_way, fresh=fresh))


def _look_beside_set(history: History, project: Project, phase: Phase, run: PhaseRun) -> Checkout:
    """Find the files under the outputs of a matrix that are those of no run of the set. The runs are compared apart."""
    files: dict[str, FileEntry] = {}
    for one in run.member_runs:
        files |= project_files(one)
    own = [pattern for one, _ in phases_of(phase, run) for pattern in one.outputs or ()]
    beside = compare(project.directory_of(phase), any_outputs(phase), {}).extra
    extra = tuple(name for name in beside if not is_declared(own, name))
    return Checkout(
        phase, run, files, Standing(extra=extra), _made_by_hand(history, project, phase, extra, at_most=_OF_MATRIX)
    )


def _made_by_hand(
    history: History,
    project: Project,
    phase: Phase,
    names: Sequence[str],
    *,
    at_most: int = AT_MOST,
    fresh: bool = False,
) -> tuple[str, ...]:
    """Return those of some files whose content none of the newest runs of the phase has stored."""
    unexplained = digests_of(project.directory_of(phase), names, fresh=fresh)
    for run in history.computed(phase.name, at_most) if unexplained else ():
        if not run.complete:
            continue
        with suppress(PhaseError):  # A manifest that cannot be read explains nothing.
            stored = {entry.sha256 for entry in project_files(run).values()}
            unexplained = {name: digest for name, digest in unexplained.items() if digest not in stored}
        if not unexplained:
            break
    return tuple(sorted(unexplained))


def put_back(project: Project, checkout: Checkout) -> None:
    """Make exactly the files of a run lie under the declared outputs of its phase.

    Raises:
        PhaseError: The stored files are damaged or away, the disk is full, or a file cannot be written. What was not
            reached yet is as it was.
    """
    standing, directory = checkout.standing, project.directory_of(checkout.phase)
    wanted = [*standing.missing, *standing.changed]
    files = {name: checkout.files[name] for name in wanted}
    how = checkout.phase.link
    sources = sources_of(checkout.run, files, how)
    if how == "copy":
        _require_space(directory, sum(checkout.files[name].size for name in wanted))
    try:
        _remove_unfinished(directory, checkout.phase)
        move_aside(directory, checkout.by_hand)
        for name in set(standing.extra) - set(checkout.by_hand):
            (directory / name).unlink(missing_ok=True)
        _remove_empty_folders(directory, standing.extra)
        sources.lay(directory, f"putting back {checkout.run.phase} {checkout.run.short}")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise PhaseError(
            f"{checkout.run.phase} {checkout.run.short}: its files could not be put back into {directory}: "
            f"{where}{error.strerror}. Correct that, and run it again."
        ) from None
    if wanted:
        _logger.info(f"{checkout.describe()} put back into {directory}")
    elif standing.extra:
        _logger.info(f"{checkout.run.phase}: {', '.join(standing.extra[:3])} of other runs removed from {directory}")


def clear(history: History, project: Project, phase: Phase) -> None:
    """Remove the declared outputs of a phase's earlier runs, which are stored with them, before it computes anew.

    What no run has stored stays, and counts as an output of the run that is about to begin. It may be written to.
    """
    standing = compare(project.directory, phase.outputs or (), {})
    by_hand = set(_made_by_hand(history, project, phase, standing.extra))
    try:
        for name in standing.extra:
            if name not in by_hand:
                (project.directory / name).unlink(missing_ok=True)
        if phase.link == "hard":
            own_copies(project.directory / name for name in by_hand)
    except OSError as error:
        raise PhaseError(f"{error.filename} cannot be removed: {error.strerror}. Check its permissions.") from None
    if by_hand:
        some = ", ".join(sorted(by_hand)[:3]) + (" and others" if len(by_hand) > 3 else "")
        _logger.info(f"{phase.name}: {some} was there before and belongs to its outputs")


def make_writable(project: Project, phase: Phase) -> None:
    """Replace the hard links among a phase's outputs by copies, before the phase goes on from them.

    Raises:
        PhaseError: A file cannot be read or written.
    """
    try:
        own_copies(declared_files(project.directory, phase.outputs or ()).values())
    except OSError as error:
        raise PhaseError(f"{error.filename} cannot be copied: {error.strerror}. Check its permissions.") from None


def move_aside(directory: Path, names: Iterable[str]) -> None:
    """Move files of a project into a new folder below its `.mlflow-phases/aside`, and say where they are.

    Raises:
        OSError: A file cannot be moved.
    """
    names = list(names)
    if not names:
        return
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S-%f")
    folder = own_folder(directory) / _ASIDE / stamp
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(directory / name, target)
    some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    _logger.warning(f"{some}: made or edited by hand, moved to {folder}")


def _remove_unfinished(directory: Path, phase: Phase) -> None:
    """Remove what a process left behind that was killed while it put files back. The lock keeps others from writing."""
    for path in declared_files(directory, phase.outputs or ()).values():
        if path.name.startswith(UNFINISHED):
            path.unlink(missing_ok=True)


def _remove_empty_folders(directory: Path, names: Iterable[str]) -> None:
    for name in names:
        folder = (directory / name).parent
        while folder != directory:
            try:
                folder.rmdir()
            except OSError:
                break
            folder = folder.parent


def _require_space(directory: Path, size: int) -> None:
    free = shutil.disk_usage(directory).free
    if size > free:
        raise PhaseError(
            f"{directory}: {size / 1e9:.1f} GB have to be put back, and {free / 1e9:.1f} GB are free on its disk. "
            "Make room, and run it again; nothing was changed."
        )
