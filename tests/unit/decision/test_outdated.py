"""The words for what earlier runs read that has changed since."""

import pytest

from mlflow_plugin.decision.outdated import read_and_changed
from mlflow_plugin.store.run import PhaseRun

RUNS = [PhaseRun(run_id, "train") for run_id in ("c0ffee0000", "beef000000")]
CHANGED, GONE, FOLDER, NEW, UNSET = (
    "rows.csv, which has changed since",
    "old.csv, which is gone",
    "parts, where b.txt is new",
    "local.json, which was not there then",
    "the variable SCALE, which was not set then",
)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ([CHANGED], "read rows.csv, which has changed since"),
        ([CHANGED, "a.yaml, which has changed since"], "read rows.csv and a.yaml, which have changed since"),
        ([CHANGED, FOLDER], "read rows.csv, which has changed since, and parts, where b.txt is new"),
        ([NEW], "looked for local.json, which was not there then"),
        ([CHANGED, NEW], "read rows.csv, which has changed since, and looked for local.json, which was not there then"),
        ([UNSET, GONE], "looked for the variable SCALE, which was not set then, and read old.csv, which is gone"),
        ([CHANGED, GONE, FOLDER, NEW, UNSET], None),
        (["odd, which is gone, which has changed since"], "read odd, which is gone, which has changed since"),
    ],
)
def test_files_of_the_same_state_share_one_sentence(changed, words):
    sentence = read_and_changed(RUNS[:1], changed)
    assert ";" not in sentence
    assert sentence == f"train c0ffee00 {words}" if words else sentence.endswith("where b.txt is new, and 2 more")


def test_runs_with_the_same_differences_share_one_sentence():
    assert read_and_changed(RUNS, [CHANGED]) == "train c0ffee00 and beef0000 read rows.csv, which has changed since"
