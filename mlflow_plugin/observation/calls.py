"""The steps that a phase starts by `mlflow.run`: as its processes record them, and as its trace keeps them."""

import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mlflow_plugin.observation.injected._mlflow_phases_variables import digest_of
from mlflow_plugin.observation.places import Places
from mlflow_plugin.observation.readable import readable

MOST_CALLS = 10_000
_HOOK = "_mlflow_phases_observing"


class Result(NamedTuple):
    """The run whose outputs count for a phase of a step, and the digest of these outputs."""

    run_id: str
    output_digest: str = ""


@dataclass(frozen=True)
class RecordedCall:
    """A step as the process recorded it that started it. Paths are absolute.

    Attributes:
        project: The folder of its MLproject file.
        entry_point: The entry point.
        parameters: The parameters as given, as text.
        base: The folder that relative paths among them start from.
        experiment: The experiment, empty for that of the caller.
        results: Phase -> its result: one for a phase, several for a pipeline. Empty where the step did not end well.
        question: The message of the step's question that stayed open, empty for none.
        at: The time, in nanoseconds since 1970.
        seconds: How long the step took.
        variables: Digests of the variables that the caller had set for the step, "" for one that it had removed.
        left: The files that the step left in its project, or that were put back there.
    """

    project: str
    entry_point: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    base: str = ""
    experiment: str = ""
    results: Mapping[str, Result] = field(default_factory=dict)
    question: str = ""
    at: int = 0
    seconds: float = 0.0
    variables: Mapping[str, str] = field(default_factory=dict)
    left: Sequence[str] = ()

    def tell(self) -> None:
        """Record the call, where this process is observed."""
        if hook := sys.modules.get(_HOOK):
            hook.tell("n", "", json.dumps({**self.__dict__, "at": time.time_ns()}))

    @classmethod
    def told(cls, text: str) -> "RecordedCall":
        """Return the call of a record. Raises ValueError, TypeError or KeyError for one that is none."""
        content = json.loads(text)
        results = {phase: Result(*result) for phase, result in content.pop("results").items()}
        return cls(**{**content, "left": tuple(content.get("left", ()))}, results=results)


@dataclass(frozen=True)
class Call:
    """A step that a run started, as its trace keeps it. Paths are names of `Places`.

    Attributes:
        project: The folder of its MLproject file.
        entry_point: The entry point.
        parameters: The parameters that are no absolute paths below the user's own folders.
        paths: Those that are.
        base: The folder that relative paths among the parameters start from.
        experiment: The experiment, empty for that of the caller.
        results: Phase -> its result; empty for a step that failed.
        hidden: Names of parameters whose value may be a secret. The runs have these values.
        variables: Digests of the variables that the caller had set for the step, "" for one that it had removed.
    """

    project: str
    entry_point: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    paths: Mapping[str, str] = field(default_factory=dict)
    base: str = "."
    experiment: str = ""
    results: Mapping[str, Result] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The step in a few words: the entry point, the folder of another project, or both as `folder#entry_point`."""
        return step_name(self.project, self.entry_point)

    @property
    def key(self) -> str:
        """The text that two calls share when they ask for the same; results do not count."""
        return json.dumps({**self.__dict__, "results": None}, sort_keys=True)

    def remark(self) -> str:
        """Say with which parameters the step was started, and which runs it gave."""
        hidden = dict.fromkeys(self.hidden, "(hidden)")
        given = [f"{name}={value}" for name, value in sorted({**self.parameters, **self.paths, **hidden}.items())]
        runs = [result.run_id[:8] for result in self.results.values()] or ["failed"]
        return readable(f"{' '.join([*given, '->', *runs])}")

    def to_json(self) -> dict[str, Any]:
        """Return plain values. What is empty is left out."""
        content = {key: value for key, value in self.__dict__.items() if value}
        return {**content, "results": {phase: list(result) for phase, result in self.results.items()}}


@dataclass(frozen=True)
class CallAnswer:
    """The answer to a step that is asked for again, without running it.

    Attributes:
        results: Phase -> the run that would be reused.
        reason: Why something would not be reused, such as `would run now: ...`; empty when everything would be.
        unclear: Why it cannot be asked for; empty when it can.
        mentions: What a reader should know of the runs that would be reused, as their verdicts say it.
        complete: True when everything that these runs read was compared.
    """

    results: Mapping[str, Result] = field(default_factory=dict)
    reason: str = ""
    unclear: str = ""
    mentions: tuple[str, ...] = ()
    complete: bool = True


def step_name(folder: str, entry_point: str) -> str:
    """Return a short name for an entry point of the project in a folder.

    >>> step_name(".", "clean"), step_name("src/clean", "main"), step_name("src/clean", "check")
    ('clean', 'src/clean', 'src/clean#check')
    """
    if folder == ".":
        return entry_point
    return folder if entry_point == "main" else f"{folder}#{entry_point}"


def calls_of(recorded: Iterable[RecordedCall], places: Places) -> tuple[Call, ...]:
    """Return the calls, the last of each that asked for the same. One that failed then counts as well: the caller may
    have gone on without it.
    """
    found: dict[str, Call] = {}
    for one in sorted(recorded, key=lambda one: one.at):
        hidden = tuple(name for name, text in one.parameters.items() if digest_of(name, text) == "-")
        own = {name: text for name, text in one.parameters.items() if os.path.isabs(text) and places.is_own(text)}
        call = Call(
            places.name_of(one.project),
            one.entry_point,
            {name: text for name, text in one.parameters.items() if name not in (*own, *hidden)},
            {name: places.name_of(text) for name, text in own.items()},
            places.name_of(one.base),
            one.experiment,
            one.results,
            tuple(name for name in hidden if name not in own),
            one.variables,
        )
        found.pop(call.key, None)
        found[call.key] = call
    return tuple(found.values())[:MOST_CALLS]


def left_again(recorded: Iterable[RecordedCall]) -> dict[str, int]:
    """Return the files that several calls left one after another: path -> when the first of these calls began, in
    nanoseconds since 1970. What a caller read of them is known by the results of the calls.
    """
    calls = sorted(recorded, key=lambda one: one.at)
    began: dict[str, int] = {}
    runs: dict[str, set[str]] = {}
    for one in calls:
        for path in one.left:
            began.setdefault(path, one.at - int(one.seconds * 1e9))
            runs.setdefault(path, set()).update(result.run_id for result in one.results.values())
    return {path: at for path, at in began.items() if len(runs[path]) > 1}


def merged_calls(earlier: Iterable[Call], later: Iterable[Call]) -> tuple[Call, ...]:
    """Return all calls of two segments of the same work, the later of each that asked for the same."""
    return tuple({call.key: call for call in (*earlier, *later)}.values())[:MOST_CALLS]


def same_result(then: Mapping[str, Result], now: Mapping[str, Result]) -> bool:
    """Return whether two results of a step are the same runs, or runs with the same outputs.

    >>> same_result({"main": Result("a1", "d")}, {"main": Result("b2", "d")})
    True
    """
    return then.keys() == now.keys() and all(
        one.run_id == now[phase].run_id or (one.output_digest and one.output_digest == now[phase].output_digest)
        for phase, one in then.items()
    )
