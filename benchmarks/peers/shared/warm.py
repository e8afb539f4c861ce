"""`warm.py DECISION`, run in a pipeline's folder: times a decision when everything is imported and opened.

Writes the milliseconds of each repetition to warm.json.
"""

import json
import sys
import time
from pathlib import Path

REPETITIONS, ENOUGH_MS = 7, 4000


def dvc(method):
    from dvc.repo import Repo

    return getattr(Repo("."), method)


def redun():
    import workflow
    from redun.cli import setup_scheduler

    scheduler = setup_scheduler(".redun")
    return lambda: scheduler.run(workflow.main(2))


def prefect():
    import flow

    return flow.pipeline


def get_run():
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    run_id = client.search_runs(["0"], max_results=1)[0].info.run_id
    return lambda: client.get_run(run_id)


def multistep():
    import multistep
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    return lambda: multistep.found(client)


def plan():
    from mlflow.tracking import MlflowClient

    from mlflow_plugin import plan

    client = MlflowClient()

    def decide():
        actions = {verdict.action for verdict in plan(".", client=client, experiment_id="0").verdicts}
        if actions != {"reuse"}:
            sys.exit(f"the plan is to {actions}")

    return decide


DECISIONS = {
    "dvc repro": lambda: dvc("reproduce"),
    "dvc status": lambda: dvc("status"),
    "redun": redun,
    "prefect": prefect,
    "get_run": get_run,
    "multistep": multistep,
    "plan": plan,
}


def main():
    sys.path.insert(0, str(Path.cwd()))
    decision = DECISIONS[sys.argv[1]]()
    decision()
    milliseconds = []
    while len(milliseconds) < REPETITIONS and sum(milliseconds) < ENOUGH_MS:
        began = time.perf_counter()
        decision()
        milliseconds.append(1e3 * (time.perf_counter() - began))
    Path("warm.json").write_text(json.dumps(milliseconds))


if __name__ == "__main__":
    main()
