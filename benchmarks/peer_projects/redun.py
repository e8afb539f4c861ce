"""redun: tasks that take `File` arguments; a shell command goes through its `script`."""

import textwrap

from benchmarks.change_rows.row import Damage, Forget, Phase, Row
from benchmarks.peer_projects.base import Case, PeerTool, function, module

HEAD = """import os
from glob import glob
from pathlib import Path

from redun import File, script, task

redun_namespace = "rows"
"""
THREADS = """
import os
import threading

from redun import Scheduler
from redun.config import Config

import workflow

before = dict(os.environ)
stores = [Config({"backend": {"db_uri": f"sqlite:///{name}.db"}}) for name in ("one", "two")]
schedulers = [Scheduler(config=store) for store in stores]
[scheduler.load() for scheduler in schedulers]
runs = lambda scheduler, rate: scheduler.run(workflow.main("train", rate))
threads = [threading.Thread(target=runs, args=each) for each in zip(schedulers, (1, 2))]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert dict(os.environ) == before, "left in the environment"
"""


class Redun(PeerTool):
    name = "redun"
    source = "workflow.py"

    def lay(self, case: Case) -> None:
        scripts = () if case.row.last.body else case.row.scripts  # A shell command's files are its inputs.
        files = [listed(case, name) for name in [*case.named(*scripts), *case.data]]
        ignored = f"config_args={list(case.row.ignore)!r}" if case.row.ignore else ""
        functions, made = [], {}
        for phase in case.row.phases:
            given = [made[need] for need in phase.needs] + case.parameters(phase)
            if not phase.body:
                command = case.command(phase, "NAME")
                functions.append(f"COMMAND = {command!r}\n")
                made[phase.name] = (
                    "script(COMMAND, inputs=[file.stage(file.path) for file in files], "
                    f"outputs=File({phase.name + '.txt'!r}))"
                )
                continue
            before = ()
            if phase is case.row.last and files:
                before, given = ("files: list[File]",), ["files", *given]
            if phase is case.row.last and case.told_variables:
                before, given = (*before, "told: list"), [*given[: len(before)], "VARIABLES", *given[len(before) :]]
            text = function(case, phase, f"@task({ignored})\n", before)
            functions.append(with_files(phase, text) if keeps_files(case.row) else text)
            made[phase.name] = f"{phase.name}({', '.join(given)})"
        variables = ", ".join(f"os.environ.get({name!r})" for name in case.told_variables)
        arguments = ["target: str", *(f"{name}: {case.kind(name)}" for name in case.row.parameters)]
        arguments += ["files: list[File] = FILES"] if files else []
        arguments += ["variables: list = VARIABLES"] if variables else []
        body = "\n".join(f"    if target == {name!r}:\n        return {call}" for name, call in made.items())
        no_files = "" if files else "    files = []\n"
        foot = (
            f"FILES = [{', '.join(files)}]\nVARIABLES = [{variables}]\n\n\n"
            f"@task()\ndef main({', '.join(arguments)}):\n{no_files}{body}\n"
        )
        case.write("workflow.py", module(case, HEAD, "\n\n".join(functions), foot))

    def ask(self, case: Case, phase: str) -> str:
        words = [f"--{name} {case.fill(value)}" for name, value in case.values.items()]
        return " ".join(["redun run workflow.py main --target", phase or case.row.last.name, *words])

    def threads(self, case: Case) -> str:
        return THREADS

    def needed(self, row: Row) -> str:
        if row.reads_variables:
            return "the variable's value, as an argument of the task"
        return "a `File` of it, as an argument of the task" if row.reads + row.scripts else ""


def keeps_files(row: Row) -> bool:
    """Return whether the row is about stored outputs: then tasks return files, as redun's manual has it."""
    return any(isinstance(edit, Damage | Forget) for edit in row.change)


def with_files(phase: Phase, text: str) -> str:
    """The phase's function, with files in place of text as arguments and as result."""
    head, body = text.replace(": str", ": File").replace("-> str", "-> File").split("\n", 2)[1:]
    read = "".join(f"    {need} = {need}.read()\n" for need in phase.needs)
    made = f"{read}    def made():\n{textwrap.indent(body, '    ')}\n"
    return f"@task()\n{head}\n{made}    file = File({phase.name + '.txt'!r})\n    file.write(made())\n    return file\n"


def listed(case: Case, name: str) -> str:
    if case.path(name).is_dir():
        return f"*(File(path) for path in sorted(glob({name + '/**/*.*'!r}, recursive=True)))"
    return f"File({name!r})"
