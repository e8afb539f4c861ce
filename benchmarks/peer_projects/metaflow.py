"""Metaflow: a flow of steps. `resume` reuses what the last run has finished; a new value needs a new `run`."""

import json
from pathlib import Path

from benchmarks.change_rows.row import Ask, Row
from benchmarks.peer_projects.base import Case, PeerTool, function, module

HEAD = "from metaflow import FlowSpec, IncludeFile, Parameter, step\n"
KINDS = {"float": "float", "int": "int", "bool": "bool"}
THREADS = """
import os
import threading

from metaflow import Runner

before = dict(os.environ)
runs = lambda rate: Runner("flow.py", show_output=False).run(rate=rate)
threads = [threading.Thread(target=runs, args=(rate,)) for rate in (1, 2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert dict(os.environ) == before, "left in the environment"
"""


class Metaflow(PeerTool):
    name = "metaflow"
    source = "flow.py"

    def lay(self, case: Case) -> None:
        functions = [function(case, phase) for phase in case.row.phases]
        lines = ["class Rows(FlowSpec):"]
        for name in case.row.parameters:
            kind = KINDS.get(case.kind(name), "str")
            lines.append(f"    {name} = Parameter({name!r}, type={kind}, default={default(case, name)})")
        for number, name in enumerate(case.data):
            if case.path(name).is_file():
                lines.append(f"    data{number} = IncludeFile('data{number}', is_text=False, default={name!r})")
        phases = case.row.phases
        followers = {phase.name: [next_.name for next_ in phases if phase.name in next_.needs] for phase in phases}
        for number, phase in enumerate(phases):
            step = phase.name if number else "start"
            joins = len(phase.needs) > 1
            given = [f"inputs.{need}.{need}_" if joins else f"self.{need}_" for need in phase.needs]
            given += [f"self.{name}" for name in case.parameters(phase)]
            after = ", ".join(f"self.{name}" for name in followers[phase.name] or ["end"])
            lines += ["", "    @step", f"    def {step}(self{', inputs' if joins else ''}):"]
            lines += [f"        self.{phase.name}_ = {phase.name}({', '.join(given)})", f"        self.next({after})"]
        lines += [
            "",
            "    @step",
            "    def end(self):",
            "        pass",
            "",
            "",
            'if __name__ == "__main__":',
            "    Rows()",
        ]
        case.write("flow.py", module(case, HEAD, "\n\n".join(functions), "\n".join(["", *lines, ""])))

    def ask(self, case: Case, phase: str) -> str:
        again = (case.project / ".metaflow" / "Rows").exists() and not case.given
        words = [f"--{name} {case.fill(value)}" for name, value in case.values.items()]
        if again:
            return "python flow.py resume start" if case.told else "python flow.py resume"
        return " ".join(["python flow.py run", *words])

    def variables(self, case: Case) -> dict[str, str]:
        return {"METAFLOW_USER": "bench", "METAFLOW_HOME": str(case.home / "metaflow")}

    def stored(self, case: Case, phase: str) -> Path:
        flow = case.project / ".metaflow" / "Rows"
        newest = max((path for path in flow.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
        step = "start" if phase == case.row.phases[0].name else phase
        digest = json.loads(next(newest.glob(f"{step}/*/0.data.json")).read_text())["objects"][f"{phase}_"]
        return flow / "data" / digest[:2] / digest

    def unable(self, row: Row) -> str:
        return "a step is not run on its own" if any(isinstance(edit, Ask) for edit in row.change) else ""

    def threads(self, case: Case) -> str:
        return THREADS

    def needed(self, row: Row) -> str:
        return "the step to begin with, each time: `resume start`"

    def tellable(self, row: Row) -> bool:
        return row.number == "1"  # It executes whatever the row is.


def default(case: Case, name: str) -> str:
    value = case.fill(case.row.parameters[name].value)
    return {"float": value, "int": value, "bool": value.capitalize()}.get(case.kind(name), repr(value))
