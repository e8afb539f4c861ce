"""Prefect: a flow of tasks that are cached by their inputs and their source, with persisted results."""

from pathlib import Path

from benchmarks.change_rows.row import Row
from benchmarks.peer_projects.base import DIGEST, Case, PeerTool, function, module, parsed

HEAD = """import os
import sys
from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import INPUTS, TASK_SOURCE
"""
THREADS = """
import os
import threading

from flow import pipeline

before = dict(os.environ)
threads = [threading.Thread(target=pipeline, args=("train",), kwargs={"rate": rate}) for rate in (1, 2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert dict(os.environ) == before, "left in the environment"
"""


class Prefect(PeerTool):
    name = "prefect"
    source = "flow.py"
    outage = "Failed to reach API"

    def lay(self, case: Case) -> None:
        told = bool(case.told and (case.row.reads or case.row.data or case.row.reads_variables))
        less = "".join(f' - "{name}"' for name in case.row.ignore)
        above = f"@task(cache_policy=INPUTS{less} + TASK_SOURCE, persist_result=True)\n"
        functions, calls = [], []
        for phase in case.row.phases:
            extra = told and phase is case.row.last
            functions.append(function(case, phase, above, ("told: dict",) if extra else ()))
            given = [f"made_{need}" for need in phase.needs] + case.parameters(phase)
            given = ["told", *given] if extra else given
            calls.append(f"    made_{phase.name} = {phase.name}({', '.join(given)})")
            calls.append(f"    if target == {phase.name!r}:\n        return made_{phase.name}")
        names = list(case.row.parameters)
        told_now = ""
        if told:
            contents = ", ".join(f"_content({name!r})" for name in case.data)
            variables = ", ".join(f"os.environ.get({name!r})" for name in case.told_variables)
            told_now = f"    told = {{'files': [{contents}], 'variables': [{variables}]}}\n"
        flow = f"@flow\ndef pipeline({', '.join(('target', *names))}):\n{told_now}" + "\n".join(calls)
        given = parsed(case, names, 'text["NAME"]')
        foot = (
            f'\n{flow}\n\n\nif __name__ == "__main__":\n'
            f"    text = dict(word.split('=', 1) for word in sys.argv[2:])\n    pipeline(sys.argv[1], **{given})\n"
        )
        case.write("flow.py", module(case, HEAD + (DIGEST if told else ""), "\n\n".join(functions), foot))

    def ask(self, case: Case, phase: str) -> str:
        words = [f"{name}={case.fill(value)}" for name, value in case.values.items()]
        return " ".join(["python flow.py", phase or case.row.last.name, *words])

    def variables(self, case: Case) -> dict[str, str]:
        return {
            "PREFECT_HOME": str(case.home / "prefect"),
            "PREFECT_LOCAL_STORAGE_PATH": str(case.home / "results"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        }

    def stored(self, case: Case, phase: str) -> Path:
        order = [each.name for each in case.row.phases].index(phase)
        return sorted((case.home / "results").iterdir(), key=lambda path: path.stat().st_mtime_ns)[order]

    def threads(self, case: Case) -> str:
        return THREADS

    def needed(self, row: Row) -> str:
        if row.reads_variables:
            return "the variable's value, as an argument of the task"
        return "the file's content, as an argument of the task" if row.data + row.reads + row.scripts else ""

    def tellable(self, row: Row) -> bool:
        return bool(row.data + row.reads + row.scripts + row.reads_variables)
