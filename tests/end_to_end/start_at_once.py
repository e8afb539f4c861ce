"""Start a phase several times at the same moment. Imports MLflow once and forks, so that eight cost little more than
one.

    python start_at_once.py COUNT PROJECT EXPERIMENT_ID OUTPUT_FOLDER NAME=VALUE ...

Each child writes to `OUTPUT_FOLDER/N.txt`; its process id goes to `N.pid`, its exit code to `N.code`.
"""

import os
import sys
from pathlib import Path

import mlflow.projects

import mlflow_plugin.backends.phases  # noqa: F401 - here, so that the children need not
from mlflow_plugin.errors import PhaseError


def _start(project: str, experiment_id: str, parameters: dict[str, str]) -> int:
    try:
        mlflow.projects.run(
            project, "train", backend="phases", parameters=parameters, experiment_id=experiment_id, synchronous=True
        )
    except PhaseError as error:
        print(f"mlflow-phases: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    return 0


def _main(count: int, project: str, experiment_id: str, folder: Path, parameters: dict[str, str]) -> None:
    children = {}
    for number in range(count):
        if (pid := os.fork()) == 0:
            output = os.open(folder / f"{number}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(output, 1)
            os.dup2(output, 2)
            code = 70
            try:
                code = _start(project, experiment_id, parameters)
            finally:
                sys.stdout.flush()
                os._exit(code)
        children[pid] = number
        (folder / f"{number}.pid").write_text(str(pid))
    for _ in range(count):
        pid, status = os.wait()
        (folder / f"{children[pid]}.code").write_text(str(os.waitstatus_to_exitcode(status)))


if __name__ == "__main__":
    _main(
        int(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]), dict(word.split("=", 1) for word in sys.argv[5:])
    )
