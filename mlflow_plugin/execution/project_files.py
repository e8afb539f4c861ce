"""Put the files that earlier phases left in the project in place, and keep them so while a phase computes."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from mlflow_plugin.checkout.lock import reading, writing
from mlflow_plugin.checkout.putting_back import Checkout, checkouts, clear, look, look_at_each, make_writable, put_back
from mlflow_plugin.decision.request import Decision
from mlflow_plugin.project.project import Phase, Project
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun

__all__ = ["ProjectFiles"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProjectFiles:
    """The files that phases leave in one checkout of a project."""

    history: History
    project: Project

    @classmethod
    def of(cls, decision: Decision) -> "ProjectFiles":
        """Return those of the project of a decision, as the store is now."""
        request = decision.request
        history = History(request.client, request.experiment_id, request.project)
        return cls(history, request.project)

    @contextmanager
    def in_place(self, decision: Decision) -> Iterator[None]:
        """Put the files of all inputs in place, and hold them and the phase's own outputs inside the block.

        Files that earlier runs of the phase left under its outputs are removed, unless it resumes.

        Raises:
            PhaseError: A stored file is damaged, or the project cannot be written.
        """
        phase, verdict = decision.request.phase, decision.verdict
        with ExitStack() as held:
            for checkout in checkouts(self.history, self.project, decision.inputs):
                if checkout.files:
                    self._hold(held, checkout)
            if phase.outputs:
                held.enter_context(writing(self.project.directory, phase.own_full_name))
                if verdict.action != "resume":
                    clear(self.history, self.project, phase)
                elif phase.link == "hard":
                    make_writable(self.project, phase)
            yield
        if verdict.beside and phase.outputs:
            now = ProjectFiles.of(decision)  # The run that has just ended explains what lies there.
            if latest := now.history.latest(phase):
                now.restore(phase, latest)

    def _hold(self, held: ExitStack, checkout: Checkout) -> None:
        directory, phase = self.project.directory_of(checkout.phase), checkout.phase
        fresh = phase.link == "hard"  # Others may have written to the file in another place.
        while True:
            with ExitStack() as attempt:
                attempt.enter_context(reading(directory, phase.own_full_name))
                if look(self.history, self.project, phase, checkout.run, fresh=fresh).standing.is_right:
                    held.push(attempt.pop_all())
                    return
            self._put_back(phase, checkout.run, fresh=fresh)

    def _put_back(self, phase: Phase, run: PhaseRun, *, fresh: bool = False) -> None:
        with writing(self.project.directory_of(phase), phase.own_full_name):
            # A run that has ended meanwhile explains what lies there.
            history = History(self.history.client, self.history.experiment_id, self.project)
            now = look(history, self.project, phase, run, fresh=fresh)
            if not now.standing.is_right:
                put_back(self.project, now)

    def restore(self, phase: Phase, run: PhaseRun, *, force: bool = False) -> bool:
        """Put the files of a run in place, unless files that were made by hand are in the way; return True when done.

        Args:
            phase: The phase, which declares outputs.
            run: Its run.
            force: Move aside what was made by hand.

        Raises:
            PhaseError: A stored file is damaged, or the project cannot be written.
        """
        every = look_at_each(self.history, self.project, phase, run)
        return not [one for one in every if not self._restore(one, force=force)]

    def _restore(self, found: Checkout, *, force: bool) -> bool:
        phase, run = found.phase, found.run
        if not found.files or found.standing.is_right:
            return True
        if found.by_hand and not force:
            some = ", ".join(found.by_hand[:3]) + (" and others" if len(found.by_hand) > 3 else "")
            _logger.warning(
                f"{phase.name}: {some} was made or edited by hand, so the files of {phase.name} {run.short} were not "
                f"put back. `mlflow-phases checkout {phase.name} --force` moves it aside and puts them back"
            )
            return False
        self._put_back(phase, run)
        return True
