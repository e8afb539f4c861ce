"""Runs whose reads were not recorded: the verdict says what it does not know."""

from dataclasses import replace

import pytest

from mlflow_plugin.decision import reads
from mlflow_plugin.decision.evidence import decide_whole
from mlflow_plugin.decision.reads import ReadsComparison
from mlflow_plugin.observation.environment_files import environment_files
from mlflow_plugin.observation.trace import Trace
from mlflow_plugin.project.identity import Identity


def test_a_named_folder_that_is_not_compared_is_asked_about_where_no_trace_holds_its_files(demo):
    demo.compute("collect")
    decision = demo.decide("collect")
    run = demo.run(decision.verdict.run_id)
    assert decision.identity is not None
    unlisted = Identity(replace(decision.identity.recipe, uncompared=("photos",)), {})
    assert not ReadsComparison(decision.request, decision.identity, decide_whole).findings(run).unclear
    findings = ReadsComparison(decision.request, unlisted, decide_whole).findings(run)
    assert "photos is not compared" in findings.unclear[0]
    assert not findings.complete


@pytest.mark.parametrize(
    ("wanted", "manager", "changed"),
    [
        ("mlflow>=1", "", ("mlflow 0.1, which is",)),
        ("mlflow==0.1", "", ()),
        ("mlflow>=1", "virtualenv", ()),
        ("mlflow==0.1", "local", ("mlflow 0.1, which is",)),
    ],
)
def test_packages_are_not_compared_with_this_environment_where_mlflow_builds_another(
    demo, monkeypatch, wanted, manager, changed
):
    (demo.folder / "python_env.yaml").write_text(f"dependencies: ['{wanted}']\n")
    demo.compute("collect")
    decision = demo.decide("collect")
    phase = replace(decision.request.phase, environment="count")
    invocation = replace(decision.request.invocation, env_manager=manager)
    files = environment_files(demo.folder)
    trace = Trace("full", packages={"mlflow": "0.1"}, environment_files=files)
    monkeypatch.setattr(reads, "trace_of_run", lambda run: trace)
    request = replace(decision.request, phase=phase, asked_as=invocation)
    run = demo.run(decision.verdict.run_id)
    found = ReadsComparison(request, decision.identity, decide_whole).findings(run).changed
    assert len(found) == len(changed)
    assert all(one.startswith(start) for one, start in zip(found, changed, strict=True))
