"""Find the files that phases which ran side by side have both written, without declaring them."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.observation.readable import listed
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.traces import trace_of_run

__all__ = ["WrittenTwice"]

_logger = logging.getLogger(__name__)


@dataclass
class WrittenTwice:
    """The files that the computed runs of one pipeline have written."""

    _seen: list[tuple[str, PhaseRun, frozenset[Path]]] = field(default_factory=list)

    def add(self, label: str, directory: Path, run: PhaseRun) -> None:
        """Take in a run that has ended, and warn of files that another one wrote at the same time.

        Args:
            label: The phase in messages.
            directory: The folder of its MLproject file.
            run: The run.
        """
        if run.reused_run_id or not run.complete:
            return
        try:
            trace = trace_of_run(run)
        except PhaseError:
            return
        wrote = frozenset(directory / name for name in (trace.wrote if trace else ()) if not Path(name).is_absolute())
        for other, before, theirs in self._seen:
            if (both := wrote & theirs) and before.started_at < run.when and run.started_at < before.when:
                names = listed(sorted(str(path.relative_to(directory)) for path in both))
                _logger.warning(
                    f"{other} and {label} ran side by side and both wrote {names}: it is chance what is in it now. Let "
                    "each write a file of its own, or run them one after the other (`jobs: 1`)"
                )
        self._seen.append((label, run, wrote))
