"""Runs whose reads were not recorded: the verdict says what it does not know."""

from dataclasses import replace

from mlflow_plugin.decision.reads import ReadsComparison
from mlflow_plugin.project.identity import Identity


def test_a_named_folder_that_is_not_compared_is_asked_about_where_no_trace_holds_its_files(demo):
    demo.compute("collect")
    decision = demo.decide("collect")
    run = demo.run(decision.verdict.run_id)
    assert decision.identity is not None
    unlisted = Identity(replace(decision.identity.recipe, uncompared=("photos",)), {})
    assert not ReadsComparison(decision.request, decision.identity).findings(run).unclear
    findings = ReadsComparison(decision.request, unlisted).findings(run)
    assert "photos is not compared" in findings.unclear[0]
    assert not findings.complete
