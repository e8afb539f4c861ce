"""Ask for the verdicts of the steps that an earlier run had started by `mlflow.run`. Reads, never writes."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType

from mlflow_plugin.decision.planning import planned
from mlflow_plugin.decision.request import Request
from mlflow_plugin.decision.verdict import Verdict
from mlflow_plugin.errors import NewerFormatError, PhaseError
from mlflow_plugin.observation.calls import Call, CallAnswer, Result
from mlflow_plugin.observation.places import Places
from mlflow_plugin.observation.readable import readable
from mlflow_plugin.project.mlproject import load_project
from mlflow_plugin.project.parameters import unquoted
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run_decoding import phase_run

__all__ = ["StepsComparison", "given_by_program", "set_by_callers"]

_MOST_DEEP = 10
_asked: ContextVar[tuple[str, ...]] = ContextVar("asked", default=())
"""The steps that are being asked for, from the outermost one: traces come from a store, and may hold a cycle."""
given_by_program: ContextVar[bool] = ContextVar("given_by_program", default=False)
"""True where a phase's process gives the parameters: a path into the artifacts of another step is one of its calls."""
set_by_callers: ContextVar[Mapping[str, str]] = ContextVar("set_by_callers", default=MappingProxyType({}))
"""Digests of the variables that the scripts of the callers set for the step that is asked for, "" for a removed one."""
_WORDS = {"run": "would run now", "resume": "would resume now", "wait": "is computed anew now", "ask": "asks now"}


class StepsComparison:
    """Asks for steps again as a run of a request had started them.

    Args:
        request: The request that started them, or would.
        places: The folders of the user.
        decide: Returns the verdict on a phase, or on the set of runs of one with a matrix.
    """

    def __init__(
        self,
        request: Request,
        places: Places,
        decide: Callable[[Request, History | None], Verdict],
    ) -> None:
        self._request, self._places, self._decide = request, places, decide
        self._verdicts: dict[tuple[object, ...], tuple[Verdict, ...]] = {}

    def answer(self, call: Call, *, trusted: bool) -> CallAnswer:
        """Return the answer to one step.

        Args:
            call: The step.
            trusted: The run that started it is of the same user: a step outside the project is asked for as well.

        Raises:
            MlflowException: The store does not answer.
        """
        place = self._places.place_of(call.project)
        if place.path is None:
            return CallAnswer(unclear=f"the root {readable(place.root)} has no folder here")
        if not place.own and not trusted:
            return CallAnswer(unclear=f"{readable(place.path)} lies outside the project, and another user named it")
        key = f"{place.path}\0{call.entry_point}\0{call.key}"
        asked = _asked.get()
        if key in asked or len(asked) >= _MOST_DEEP:
            return CallAnswer(unclear="the steps call each other in a cycle" if key in asked else "it lies too deep")
        tokens = _asked.set((*asked, key)), given_by_program.set(True)
        variables = set_by_callers.set({**set_by_callers.get(), **call.variables})
        try:
            return self._asked_again(call, Path(place.path))
        except NewerFormatError as error:
            return CallAnswer(unclear=str(error))
        except PhaseError as error:
            return CallAnswer(reason=f"cannot be asked for now: {readable(str(error))}")
        finally:
            _asked.reset(tokens[0])
            given_by_program.reset(tokens[1])
            set_by_callers.reset(variables)

    def _asked_again(self, call: Call, folder: Path) -> CallAnswer:
        given: dict[str, object] = dict(call.parameters)
        given |= {name: self._places.place_of(text).path or text for name, text in call.paths.items()}
        given |= (hidden := self._hidden(call))
        given.pop("decide", None)
        base = Path(self._places.place_of(call.base).path or folder)
        client, experiment = self._request.client, call.experiment or self._request.experiment_id
        # Several runs may have started the same step. The key leaves out what is hidden.
        key = (call.key, *hidden.values())
        if key not in self._verdicts:
            project = load_project(folder)
            made = planned(self._decide, base, project, call.entry_point, given, client, experiment)
            self._verdicts[key] = made.verdicts
        verdicts = self._verdicts[key]
        for verdict in verdicts:
            if verdict.action != "reuse":
                why = f": {readable(verdict.reasons[0])}" if verdict.reasons else ""
                return CallAnswer(reason=f"{_WORDS[verdict.action]}{why}")
        observed = [one.observed for one in _each(verdicts) if one.observed]
        return CallAnswer(
            {verdict.phase: self._result(call, verdict) for verdict in verdicts},
            mentions=tuple(dict.fromkeys(mention for one in observed for mention in one.mentions)),
            complete=all(one.complete for one in observed),
        )

    def _hidden(self, call: Call) -> dict[str, object]:
        """Return the parameters that may be secrets, as the runs of the step have them. Raises PhaseError."""
        runs = [self._request.client.get_run(result.run_id) for result in call.results.values()] if call.hidden else []
        known = {name: unquoted(text) for run in runs for name, text in run.data.params.items()}
        if unknown := [name for name in call.hidden if name not in known]:
            raise PhaseError(f"no run shows the value of {unknown[0]}.")
        return {name: known[name] for name in call.hidden}

    def _result(self, call: Call, verdict: Verdict) -> Result:
        """Return the run that would be reused. Of the same run as then nothing is read."""
        then, run_id = call.results.get(verdict.phase), verdict.run_id or ""
        if then is not None and then.run_id == run_id:
            return then
        return Result(run_id, phase_run(self._request.client.get_run(run_id)).output_digest)


def _each(verdicts: Iterable[Verdict]) -> Iterator[Verdict]:
    """Yield the verdicts, and those on each run of a matrix."""
    for verdict in verdicts:
        yield verdict
        yield from verdict.members.values()
