"""Explain a verdict: list everything that it rests on, item by item, with the state of each. Reads, never writes."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mlflow_plugin.decision.evidence import decide_phase, decide_whole
from mlflow_plugin.decision.reads import ReadsComparison
from mlflow_plugin.decision.request import Decision, Request
from mlflow_plugin.decision.verdict import Verdict, verdict_dict
from mlflow_plugin.format import short
from mlflow_plugin.project.identity import run_image
from mlflow_plugin.store.run import PhaseRun


@dataclass(frozen=True)
class Item:
    """One thing that a verdict rests on.

    Attributes:
        section: parameter, code, image, named, input, or the kind of an observed item: file, folder, variable, ...
        name: Its name.
        state: `same`, `changed`, `not compared`, `ignored` or `new`.
        remark: The values, or why it is not compared; may be empty.
    """

    section: str
    name: str
    state: str
    remark: str = ""


@dataclass(frozen=True)
class Explanation:
    """A verdict, the run that it was compared with (None when there is none), and everything that was compared."""

    verdict: Verdict
    run: PhaseRun | None
    items: tuple[Item, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "verdict": verdict_dict(self.verdict),
            "run_id": self.run.run_id if self.run else None,
            "items": [asdict(item) for item in self.items],
        }


def explain_phase(request: Request) -> Explanation:
    """Return the verdict on a phase with everything that it rests on.

    Raises:
        UsageError: A parameter or a pinned run is wrong.
        PhaseError: A file of the code cannot be read.
        MlflowException: The store does not answer.
    """
    decision = decide_phase(request)
    run = _compared_run(decision)
    items = [*_parameters(decision, run), *_code(decision, run), *_image(decision, run), *_named(decision, run)]
    items += _inputs(decision, run)
    if run is not None:
        rows = ReadsComparison(request, decision.identity, decide_whole).rows(run)
        items += [Item(row.kind, row.name, row.state or "", row.remark) for row in rows]
    return Explanation(decision.verdict, run, tuple(items))


def _compared_run(decision: Decision) -> PhaseRun | None:
    """Return the run that the verdict is about; else the newest complete run of the same identity, or the nearest."""
    history, identity = decision.history, decision.identity
    if decision.verdict.run_id:
        return history.run(decision.verdict.run_id)
    if identity is None:
        return None
    complete = [run for run in history.same_identity(identity) if run.complete and not run.reused_run_id]
    complete = complete or [run for run in history.computed(decision.request.phase.name) if run.complete]
    return min(complete, key=lambda run: len(identity.differences(run.fingerprint, run.parameters)), default=None)


def _parameters(decision: Decision, run: PhaseRun | None) -> Iterator[Item]:
    if decision.identity is None:
        return
    recipe = decision.identity.recipe
    before = _mapping(run, "parameters")
    for name, (value, _) in recipe.parameters.items():
        now = _readable(value)
        if run is None:
            yield Item("parameter", name, "new", now)
        elif "*" in before:
            yield Item("parameter", name, "not compared", f"{now}; the run has too many parameters to list")
        else:
            old = before.get(name)
            then = old[0] if isinstance(old, list) and old else recipe.defaults[name]
            same = then == value
            yield Item("parameter", name, "same" if same else "changed", now if same else f"{_readable(then)} -> {now}")
    for name in sorted(recipe.ignored & set(decision.request.phase.parameters)):
        yield Item("parameter", name, "ignored", str(decision.request.values.get(name, "")))


def _code(decision: Decision, run: PhaseRun | None) -> Iterator[Item]:
    if decision.identity is None:
        return
    recipe, before = decision.identity.recipe, _mapping(run, "files")
    for name, digest in recipe.files.items():
        if name in recipe.named and (run is None or "programs" in run.fingerprint):
            continue  # Listed as a named file.
        if run is None:
            yield Item("code", name, "new")
        elif not before:
            same = run.fingerprint.get("code") == recipe.code
            yield Item(
                "code", name, "same" if same else "not compared", "" if same else "some file of the code changed"
            )
        else:
            yield Item("code", name, "same" if before.get(name) == digest else "changed")
    for name in sorted(set(before) - set(recipe.files)):
        yield Item("code", name, "changed", "no longer part of the code")


def _image(decision: Decision, run: PhaseRun | None) -> Iterator[Item]:
    """List the image of `docker_env`."""
    recipe = decision.identity.recipe if decision.identity else None
    if recipe is None or not recipe.image:
        return
    name, digest = run_image(run.fingerprint) if run else ("", "")
    if run is None:
        yield Item("image", recipe.image, "new", recipe.image_digest)
    elif name != recipe.image:
        yield Item("image", recipe.image, "changed", f"{name or 'none'} -> {recipe.image}")
    elif digest and recipe.image_digest:
        yield Item("image", name, "same" if digest == recipe.image_digest else "changed", recipe.image_digest)
    else:
        yield Item("image", name, "not compared", "docker does not know its content")


def _named(decision: Decision, run: PhaseRun | None) -> Iterator[Item]:
    """List the files and folders, other than programs, that the command and the parameters name."""
    if decision.identity is not None:
        for name, state, remark in decision.identity.named_states(run.fingerprint if run else {}):
            yield Item("named", name, state, remark) if run else Item("named", name, "new")


def _inputs(decision: Decision, run: PhaseRun | None) -> Iterator[Item]:
    before = _mapping(run, "inputs")
    for need, used in decision.inputs.items():
        if run is None:
            yield Item("input", need, "new", f"run {used.short}")
        else:
            same = before.get(need) == used.output_digest
            made = run.inputs.get(need, "")
            remark = f"run {used.short}" if made == used.run_id else f"run {short(made)} -> {used.short}"
            yield Item("input", need, "same" if same else "changed", remark)


def _mapping(run: PhaseRun | None, key: str) -> Mapping[str, Any]:
    content = run.fingerprint.get(key) if run else None
    return content if isinstance(content, dict) else {}


def _readable(value: object) -> str:
    text = str(value) if value is not None else "not given"
    if text.startswith("sha256:"):
        return "a file, by its content"
    return text[1:] if text[:1] in "#'=" else text[:60]
