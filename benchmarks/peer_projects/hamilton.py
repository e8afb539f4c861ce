"""Hamilton: a module of functions and a driver with a cache; data is loaded by a node that is always computed again."""

from pathlib import Path

from benchmarks.change_rows.row import Row
from benchmarks.peer_projects.base import DIGEST, Case, PeerTool, function, module, parsed

HEAD = """import os
from pathlib import Path

from hamilton.function_modifiers import cache
"""
RUN = """import sys

from hamilton import driver

import pipeline


def run(target, inputs):
    cached = driver.Builder().with_modules(pipeline).with_cache({ignore})
    return cached.build().execute([target], inputs=inputs)


if __name__ == "__main__":
    text = dict(word.split("=", 1) for word in sys.argv[2:])
    run(sys.argv[1], {given})
"""
THREADS = """
import os
import threading

from run import run

before = dict(os.environ)
threads = [threading.Thread(target=run, args=("train", {"rate": rate})) for rate in (1, 2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert dict(os.environ) == before, "left in the environment"
"""
LOADER = """@cache(behavior="recompute")
def loaded() -> dict:
    return {{"files": [{files}], "variables": [{variables}]}}


"""


class Hamilton(PeerTool):
    name = "hamilton"
    source = "pipeline.py"

    def lay(self, case: Case) -> None:
        files = ", ".join(f"_content({name!r})" for name in case.data)
        variables = ", ".join(f"os.environ.get({name!r})" for name in case.told_variables)
        loads = bool(files or variables)
        functions = [
            function(case, phase, before=("loaded: dict",) if loads and phase is case.row.last else ())
            for phase in case.row.phases
        ]
        loader = LOADER.format(files=files, variables=variables) if loads else ""
        case.write("pipeline.py", module(case, HEAD + (DIGEST if loads else ""), loader + "\n\n".join(functions)))
        ignore = f"ignore={list(case.row.ignore)!r}" if case.row.ignore else ""
        given = parsed(case, list(case.row.parameters), 'text["NAME"]')
        case.write("run.py", RUN.replace("{ignore}", ignore).replace("{given}", given))

    def ask(self, case: Case, phase: str) -> str:
        words = [f"{name}={case.fill(value)}" for name, value in case.values.items()]
        return " ".join(["python run.py", phase or case.row.last.name, *words])

    def variables(self, case: Case) -> dict[str, str]:
        return {"HAMILTON_TELEMETRY_ENABLED": "false"}

    def stored(self, case: Case, phase: str) -> Path:
        order = [each.name for each in case.row.phases].index(phase)
        kept = [path for path in (case.project / ".hamilton_cache").iterdir() if path.suffix in ("", ".pickle", ".pkl")]
        results = sorted((path for path in kept if path.is_file()), key=lambda path: path.stat().st_mtime_ns)
        return results[order]

    def threads(self, case: Case) -> str:
        return THREADS

    def needed(self, row: Row) -> str:
        return (
            'a node with `@cache(behavior="recompute")` that reads it'
            if row.reads + row.scripts + row.reads_variables
            else ""
        )
