"""Compare what a run read with what lies here now. Nothing in a trace is believed, and no digest is shown."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mlflow_plugin.observation.calls import Call, CallAnswer, Result, same_result
from mlflow_plugin.observation.environment_files import environment_files
from mlflow_plugin.observation.file_comparison import FileComparison
from mlflow_plugin.observation.findings import Findings
from mlflow_plugin.observation.hub import revision_here
from mlflow_plugin.observation.places import Places
from mlflow_plugin.observation.policy import Policy
from mlflow_plugin.observation.readable import listed, readable
from mlflow_plugin.observation.report import Report
from mlflow_plugin.observation.states import States
from mlflow_plugin.observation.trace import Trace
from mlflow_plugin.observation.variables import counts_as_variable, variable_digest
from mlflow_plugin.project.vocabulary import ReadKind

NOT_RECORDED = "what it read was not recorded"


def compare(
    trace: Trace,
    policy: Policy,
    places: Places,
    *,
    trusted: bool,
    resolve_reference: Callable[[str], str | None] | None = None,
    ask_step: Callable[[Call], CallAnswer] | None = None,
    packages_here: Callable[[str], str | None] | None = None,
    environ: Mapping[str, str] | None = None,
    set_by_caller: Mapping[str, str] | None = None,
    rows: bool = False,
    looked: dict[tuple[str, ...], States] | None = None,
) -> Findings:
    """Compare a trace with what lies here now.

    Args:
        trace: What the run read. It may come from anybody.
        policy: What counts.
        places: The folders of the user.
        trusted: The run is of the same user, or an answer accepted it. Otherwise nothing outside `places` is read.
        resolve_reference: Returns the version or run that a URI of the tracking store means today, None when it cannot
            be resolved.
        ask_step: Returns the answer to a step that the run had started, without running it.
        packages_here: Returns the version of an installed package here, None when it is not installed. Without it
            packages are not compared: the phase runs in another environment.
        environ: The environment variables that the phase would see, by default those of this process.
        set_by_caller: Digests of the variables that the caller of a step would set for it, "" for one it would remove.
        rows: Return the state of everything that the run read, which takes longer.
        looked: The states of files at which the caller has looked a moment ago, by their paths; filled here.
    """
    if policy.observe == "none":
        return Findings(mentions=(f"{NOT_RECORDED} (observe: none)",), complete=False)
    environ = dict(os.environ) if environ is None else environ
    comparison = _Comparison(trace, policy, environ, set_by_caller or {}, Report(want_rows=rows))
    files = FileComparison(trace, policy, places, comparison.report, trusted=trusted, looked=looked)
    files.run()
    comparison.steps(ask_step)
    comparison.variables(places)
    comparison.references(resolve_reference)
    comparison.hub()
    if policy.environment != "ignore":
        comparison.packages(packages_here)
        comparison.environment_files(places)
    comparison.peers()
    comparison.coverage()
    return comparison.report.findings(files.compared)


@dataclass
class _Comparison:
    """Compares everything but files."""

    trace: Trace
    policy: Policy
    environ: Mapping[str, str]
    set_by_caller: Mapping[str, str]
    report: Report = field(default_factory=Report)

    def variables(self, places: Places) -> None:
        secret = []
        for name, then in self.trace.variables.items():
            if not counts_as_variable(name, places):
                continue
            if then is None:
                secret.append(name)
                self.report.row("variable", name, "not compared", remark="its value may be a secret")
                continue
            now = self._variable_now(name)
            if now == then:
                self.report.row("variable", name, "same")
                continue
            why = "has another value now" if now and then else "is not set now" if then else "was not set then"
            self.report.changed("variable", name, f"the variable {readable(name)}, which {why}", now)
        if secret:
            verb, its = ("was", "its value is") if len(secret) == 1 else ("were", "their values are")
            self.report.mention(f"{listed(secret)} {verb} read; {its} not compared", complete=False)

    def _variable_now(self, name: str) -> str:
        if name in self.set_by_caller:
            return self.set_by_caller[name]
        value = self.environ.get(name)
        return "" if value is None else variable_digest(value)

    def steps(self, ask: Callable[[Call], CallAnswer] | None) -> None:
        for call in self.trace.calls:
            if not call.results:
                phrase = f"the result of the step {readable(call.name)}, which failed then"
                self.report.step(f"{readable(call.name)}: failed then, and is tried again")
                self.report.changed("step", call.name, phrase, "failed", remark="failed then")
                continue
            answer = ask(call) if ask else CallAnswer(unclear="it cannot be asked for here")
            name, then = readable(call.name), _runs(call.results)
            self.report.step(f"{name}: {answer.unclear or answer.reason or _runs(answer.results)}")
            if answer.unclear:
                self.report.unclear(f"the step {name} is not compared: {answer.unclear}", ["step", call.key])
                self.report.row("step", call.name, "not compared", remark=call.remark())
            elif answer.reason:
                phrase = f"the result of the step {name}, which {answer.reason}"
                self.report.changed("step", call.name, phrase, answer.reason, remark=answer.reason)
            elif same_result(call.results, answer.results):
                for mention in answer.mentions:
                    self.report.mention(f"the step {name}: {mention}")
                if not answer.complete:
                    self.report.incomplete()
                self.report.row("step", call.name, "same", remark=call.remark())
            else:
                now = _runs(answer.results)
                phrase = f"the result of the step {name}, which was {then} and is {now} now"
                self.report.changed("step", call.name, phrase, now, remark=f"{then} -> {now}")

    def references(self, resolve: Callable[[str], str | None] | None) -> None:
        for uri, then in self.trace.references.items():
            now = resolve(uri) if resolve else None
            name = readable(uri)
            if now is None:
                self.report.unclear(f"{name} cannot be resolved here", ["reference", uri])
                self.report.row("reference", uri, "not compared", remark=_meant(then))
            elif now == then:
                self.report.row("reference", uri, "same", remark=_meant(then))
            else:
                phrase = f"{name}, which was {_meant(then)} and is {_meant(now)} now"
                self.report.changed("reference", uri, phrase, now, remark=f"{_meant(then)} -> {_meant(now)}")

    def hub(self) -> None:
        for repository, then in self.trace.hub.items():
            name = readable(repository)
            if not then.branch:
                # Asked for by its revision, which means the same files for ever.
                self.report.row("hub", repository, "same", remark=_short(then.revision))
                continue
            now = revision_here(repository, then.branch)
            if now is None:
                sentence = f"{name} was read at revision {_short(then.revision)}; its newest revision is not compared"
                self.report.mention(sentence, complete=False)
                self.report.row("hub", repository, "not compared", remark=_short(then.revision))
            elif now == then.revision:
                self.report.row("hub", repository, "same", remark=_short(then.revision))
            else:
                change = f"{_short(then.revision)} -> {_short(now)}"
                phrase = f"{name}, which was revision {_short(then.revision)} and is {_short(now)} now"
                self.report.changed("hub", repository, phrase, now, remark=change)

    def packages(self, here: Callable[[str], str | None] | None) -> None:
        for package, then in self.trace.packages.items():
            now = here(package) if here else then
            if here is None:
                self.report.row("package", package, "not compared", remark=readable(then))
            elif now == then:
                self.report.row("package", package, "same", remark=readable(then))
            else:
                shown = readable(now) if now else "not installed"
                self._environment_differs(
                    "package",
                    package,
                    f"made with {readable(package)} {readable(then)}, here {shown}",
                    f"{readable(package)} {readable(then)}, which is {shown} here",
                    now or "",
                    f"{readable(then)} -> {shown}",
                )

    def environment_files(self, places: Places) -> None:
        then = self.trace.environment_files
        now = environment_files(places.project)
        for name in sorted({*then, *now}):
            if then.get(name) == now.get(name):
                self.report.row("environment file", name, "same")
                continue
            shown = readable(name)
            short = "differs" if name in then and name in now else "is gone" if name in then else "is new"
            long = {"differs": "has changed since", "is gone": "is gone", "is new": "was not there then"}[short]
            self._environment_differs(
                "environment file", name, f"{shown} {short}", f"{shown}, which {long}", now.get(name, ""), ""
            )

    def _environment_differs(
        self, kind: ReadKind, name: str, sentence: str, phrase: str, now: str, remark: str
    ) -> None:
        """Reports a difference as `environment:` says."""
        if self.policy.environment == "count":
            self.report.changed(kind, name, phrase, now, remark=remark)
            return
        if self.policy.environment == "ask":
            self.report.unclear(sentence, [kind, name, now])
        else:
            self.report.mention(sentence)
        self.report.row(kind, name, "changed", remark=remark)

    def peers(self) -> None:
        peers = [peer for peer in self.trace.peers if peer not in self.policy.known_peers]
        for peer in peers:
            self.report.row("peer", peer, "not compared")
        if not peers or self.policy.external == "ignore":
            return
        sentence = f"also read from {listed(peers)}, not compared"
        if self.policy.external == "ask":
            self.report.unclear(sentence, ["peers", *peers])
        else:
            self.report.mention(sentence, complete=False)

    def coverage(self) -> None:
        if self.trace.coverage == "none":
            recorded_in_part = len(self.trace.files) or self.trace.folders
            in_part = "what it read was recorded only in part"
            self.report.mention(in_part if recorded_in_part else NOT_RECORDED, complete=False)
        for sentence in self.trace.unseen:
            self.report.row("unseen", sentence, "not compared")
            self.report.unclear(readable(sentence), ["unseen", sentence])
        for sentence in self.trace.partly:
            self.report.row("unseen", sentence, "not compared")
            self.report.mention(readable(sentence), complete=False)


def _runs(results: Mapping[str, Result]) -> str:
    """Name the runs of a step, in short."""
    return ", ".join(f"run {readable(result.run_id[:8])}" for result in results.values()) or "no run"


def _meant(value: str) -> str:
    """A version or a run as people read it."""
    return f"version {value}" if value.isdigit() and len(value) < 9 else f"run {readable(value[:8])}"


def _short(revision: str) -> str:
    return readable(revision[:7])
