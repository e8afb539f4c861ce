"""The package in a fresh process: silent as a library, audible as a phase, and silenced by its logger."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LOOKUP = """
import sys
import mlflow_plugin
print(mlflow_plugin.find_reusable(sys.argv[1], "collect").action)
"""
PHASE = """
import logging
import sys
import mlflow_plugin
logging.getLogger("mlflow_plugin").setLevel(sys.argv[1])
with mlflow_plugin.start_phase() as phase:
    phase.log(loss=0.5)
"""


def run_script(script: str, *arguments: str, folder: Path, run_id: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"MLFLOW_RUN_ID": run_id} if run_id else {})}
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.end_to_end
def test_a_lookup_writes_nothing_to_the_terminal(demo: Any) -> None:
    result = run_script(LOOKUP, str(demo.folder), folder=demo.folder)
    assert (result.returncode, result.stderr, result.stdout) == (0, "", "run\n")


@pytest.mark.end_to_end
@pytest.mark.parametrize(("level", "audible"), [("NOTSET", True), ("ERROR", False)])
def test_a_phase_reports_at_the_terminal_unless_its_logger_is_silenced(demo: Any, level: str, audible: bool) -> None:
    tags = {"mlflow.project.entryPoint": "collect", "mlflow.source.name": str(demo.folder)}
    run_id = demo.client.create_run("0", tags=tags).info.run_id
    result = run_script(PHASE, level, folder=demo.folder, run_id=run_id)
    assert result.returncode == 0, result.stderr
    assert ("[phases] collect: done in" in result.stderr) == audible, result.stderr
    assert ("[phases]" in result.stderr) == audible
