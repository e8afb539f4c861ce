"""Watch what the process tree of one run reads, and keep the trace with the run."""

import logging
import os
import shutil
import tempfile
from collections.abc import Mapping, Set
from contextlib import suppress
from pathlib import Path

from mlflow.exceptions import MlflowException

from mlflow_plugin.decision.request import Request
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.format import short
from mlflow_plugin.observation.asked_runs import with_asked_runs
from mlflow_plugin.observation.beginning import Beginning, environment_at_start
from mlflow_plugin.observation.places import places_of
from mlflow_plugin.observation.recorder import Recorder, unobserved
from mlflow_plugin.observation.recording import Recording
from mlflow_plugin.observation.standard_input import StandardInput
from mlflow_plugin.observation.trace import Trace
from mlflow_plugin.observation.tracing import trace_of
from mlflow_plugin.project.identity import Recipe, recipe_of, with_written
from mlflow_plugin.store import schema
from mlflow_plugin.store.observation_policy import artifact_places, policy_of, store_places
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.run_decoding import phase_run
from mlflow_plugin.store.traces import keep_trace, trace_of_run

_logger = logging.getLogger(__name__)

SWITCH = "MLFLOW_PHASES_OBSERVE"
"""`off` observes nothing, for the tests of a project and where observing is not allowed."""

IN_CONTAINER = "what it read in its container was not recorded"


class Observer:
    """Records what one run reads.

    Args:
        request: The request that the run computes.
        run: The run.
        inputs: The upstream runs; their artifacts are compared by their digests already.
        resumed_from: The interrupted run that this one resumes. What it read counts for this one too.
    """

    def __init__(
        self, request: Request, run: PhaseRun, inputs: Mapping[str, PhaseRun], resumed_from: PhaseRun | None = None
    ) -> None:
        self._request, self._run = request, run
        used = [one for of_need in inputs.values() for one in of_need.each]
        self._runs = [run, *used, *([resumed_from] if resumed_from else [])]
        self._resumed_from = resumed_from
        self._kept: Trace | None = None
        self._contained = False
        self._folder: Path | None = None
        self._recorder: Recorder | None = None
        self._beginning = Beginning.now()

    # --- beginning ---

    def variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the environment variables with which a child process is observed."""
        self._contained = bool(self._request.project.image)
        recorder = None if self._contained else self._started()
        if self._folder:
            self._beginning = Beginning(environment, StandardInput.now())
            self._save(self._beginning)
        return recorder.variables(environment) if recorder else {}

    def _save(self, beginning: Beginning) -> None:
        """Write down what the process tree was given, for its processes."""
        if self._folder:
            with suppress(OSError):
                beginning.save(self._folder)

    def command(self, command: list[str], text: str) -> list[str]:
        """Return the command with which a child process is observed; `text` is what its shell is to do."""
        return self._recorder.command(command, text) if self._recorder else command

    def join(self) -> None:
        """Use the records of the process that started this one."""
        if self._wanted:
            self._recorder = Recorder.inherited()
            if self._recorder:
                self._beginning = Beginning.of(self._recorder.folder)

    def observe_this_process(self) -> None:
        """Observe this process from now on, unless its starter does."""
        if not self._wanted:
            return
        self.join()
        if self._recorder is None and (recorder := self._started()):
            # What the script has set before counts as set by it.
            self._save(Beginning(environment_at_start(), StandardInput.now()))
            recorder.observe_this_process()

    @property
    def _wanted(self) -> bool:
        return self._request.phase.observe != "none" and os.environ.get(SWITCH) != "off"

    def _started(self) -> Recorder | None:
        if self._recorder is None and self._wanted:
            places = places_of(self._request.project)
            own = [places.project, places.repository, *places.roots.values()]
            try:
                self._folder = Path(tempfile.mkdtemp(prefix="mlflow-phases-reads-"))
            except OSError as error:
                _logger.warning(f"what {self._run.phase} reads is not recorded: {error}")
                return None
            skip = [*store_places(self._request.client), *artifact_places(self._runs)]
            self._recorder = Recorder(self._folder, own=[str(one) for one in own if one], skip=skip)
        return self._recorder

    # --- keeping ---

    def keep(self) -> None:
        """Keep what was read so far with the run, unless nothing was added since the last time.

        Raises:
            PhaseError: The store does not take it: a later verdict would not know what the run had read.
        """
        with unobserved():
            try:
                if self._contained and phase_run(self._request.client.get_run(self._run.run_id)).reads:
                    return  # A script in the container that holds its phase has seen more.
                trace = self._trace()
                if trace == self._kept:
                    return
                if trace.calls:
                    self._keep_steps()
                keep_trace(self._request.client, self._run.run_id, trace)
            except MlflowException as error:
                what = " ".join(str(error).split())[:300]
                raise PhaseError(
                    f"{self._run.phase} {short(self._run.run_id)}: what it read could not be recorded: {what}"
                ) from None
            self._kept = trace

    def _keep_steps(self) -> None:
        """Note the time that was spent in steps, which a new run of their caller does not spend again."""
        calls = self._recorder.recording().calls if self._recorder else ()
        if seconds := sum(call.seconds for call in calls):
            self._request.client.log_metric(self._run.run_id, schema.STEPS_SECONDS, seconds)

    def _trace(self) -> Trace:
        recording = self._recorder.recording() if self._recorder else self._nothing_seen()
        request = self._request
        recipe = recipe_of(request.project, request.phase, request.given, request.base, request.argv)
        self._keep_written(recipe, recording.written)
        directory = request.project.directory
        # Other files than programs are not left to the code digest: the run may have written to them.
        programs = [name for name in recipe.files if name not in recipe.named]
        code = [recipe.elsewhere.get(name, directory / name) for name in programs]
        policy = policy_of(request.project, request.phase, request.client, self._runs, code)
        earlier = None
        try:
            earlier = trace_of_run(self._resumed_from) if self._resumed_from else None
        except PhaseError as error:
            _logger.warning(str(error))
        recording = self._beginning.completed(recording, request.phase.command, code)
        steps = {result.run_id for call in recording.calls for result in call.results.values()}
        recording = with_asked_runs(recording, {*steps, *(run.run_id for run in self._runs)})
        trace = trace_of(recording, policy, places_of(request.project), earlier=earlier)
        return earlier.merged(trace) if earlier else trace

    def open_question(self) -> str:
        """Return the message of the question of a step that it started and that is not answered; empty for none."""
        calls = self._recorder.recording().calls if self._recorder else ()
        last = max(calls, key=lambda call: call.at, default=None)
        return last.question if last else ""

    def _nothing_seen(self) -> Recording:
        return Recording("none", unseen=(IN_CONTAINER,) if self._contained else ())

    def _keep_written(self, recipe: Recipe, written: Set[str]) -> None:
        """Note in the run's fingerprint which of the files that the command names the run wrote itself."""
        if not with_written(self._run.fingerprint, recipe, written):
            return
        client, run_id = self._request.client, self._run.run_id
        fingerprint = phase_run(client.get_run(run_id)).fingerprint
        if fingerprint and (changed := with_written(fingerprint, recipe, written)):
            client.set_tag(run_id, schema.FINGERPRINT, changed)

    def close(self) -> None:
        """Remove the records of this process tree. What this process itself has read stays for its later phases."""
        if self._recorder:
            self._recorder.close()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
