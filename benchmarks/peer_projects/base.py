"""Common to all tools: a case, the function of a phase as source text, and the interface of a tool."""

import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.change_rows.row import Phase, Row, filled

KINDS = {"float": "float", "integer": "int", "boolean": "bool"}
PARSE = {"float": "float({})", "integer": "int({})", "boolean": "{}.lower() == 'true'"}
DIGEST = '''

def _content(path):
    """What lies at a path: the files below it with their content."""
    below = sorted(Path(path).rglob("*")) if Path(path).is_dir() else [Path(path)]
    return {str(file): file.read_bytes().hex() for file in below if file.is_file()}
'''


@dataclass
class Case:
    """A row on one tool, in a folder of its own.

    Attributes:
        row: the row as declared now.
        home: holds the project, what lies outside it, and the store of the tool.
        told: whether the tool is told of everything that the row reads.
        values: the parameters' values now; `given` those that were given since the last request.
    """

    row: Row
    home: Path
    told: bool = False
    address: str = ""
    values: dict[str, str] = field(default_factory=dict)
    given: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    folder: str = "project"

    @property
    def project(self) -> Path:
        return self.home / self.folder

    @property
    def witness(self) -> Path:
        return self.home / "witness.txt"

    @property
    def site(self) -> Path:
        return self.home / "env" / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"

    @property
    def places(self) -> Mapping[str, str]:
        return {
            "project": str(self.project),
            "outside": str(self.home / "outside"),
            "witness": str(self.witness),
            "site": str(self.site),
            "address": self.address,
            "host": self.address.removeprefix("http://").split("/")[0],
        }

    def fill(self, text: str) -> str:
        return filled(text, self.places)

    def path(self, name: str) -> Path:
        return self.project / self.fill(name)

    def write(self, name: str, text: str) -> None:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.fill(text), newline="")

    def named(self, *names: str) -> list[str]:
        return [self.fill(name) for name in names]

    @property
    def data(self) -> list[str]:
        """The data that the tool is told of."""
        more = (*self.row.reads, *self.row.scripts) if self.told else ()
        return list(dict.fromkeys(self.named(*self.row.data, *self.row.code, *more)))

    @property
    def told_variables(self) -> tuple[str, ...]:
        return self.row.reads_variables if self.told else ()

    def parameters(self, phase: Phase) -> list[str]:
        """The parameters of the row that a phase takes."""
        return [name for name in phase.arguments if name in self.row.parameters]

    def kind(self, name: str) -> str:
        parameter = self.row.parameters.get(name)
        return KINDS.get(parameter.type if parameter else "float", "str")

    def command(self, phase: Phase, form: str) -> str:
        """The phase's command; `form` is how the tool writes a parameter, with NAME in it."""
        text = self.fill(phase.command)
        for name in self.row.parameters:
            text = text.replace(f"{{{name}}}", form.replace("NAME", name))
        return text


def function(case: Case, phase: Phase, above: str = "", before: tuple[str, ...] = ()) -> str:
    """The phase's function, which first notes its name and arguments in the witness."""
    own = [f"{name}: str" for name in phase.needs]
    for name in phase.arguments:
        default = phase.defaults.get(name)
        own.append(f"{name}: {case.kind(name)}" + (f" = {default}" if default else ""))
    noted = ", ".join((repr(phase.name), *phase.needs, *phase.arguments))
    note = f"print({noted}, file=open({str(case.witness)!r}, 'a'))"
    body = case.fill(phase.body) or shell_body(case, phase)
    lines = body.split("\n")
    if lines[0].startswith('"""'):
        lines.insert(1, note)
    elif phase.body:
        lines.insert(0, note)
    head = f"{above}def {phase.name}({', '.join((*before, *own))}) -> str:"
    return f"{head}\n{textwrap.indent(chr(10).join(lines), '    ')}\n"


def shell_body(case: Case, phase: Phase) -> str:
    """The body of a function that runs the phase's command."""
    run = f"subprocess.run({case.command(phase, 'NAME')!r}, shell=True, check=True)"
    return f"import subprocess\n{run}\nreturn open('{phase.name}.txt').read()"


def script(case: Case, phase: Phase, main: str) -> str:
    """The phase's script: its docstring, imports, function, and the lines that call it."""
    docstring = f'"""{phase.docstring}"""\n\n' if phase.docstring else ""
    main = textwrap.indent(main, "    ")
    return f'{docstring}{case.fill(phase.imports)}\n\n\n{function(case, phase)}\n\nif __name__ == "__main__":\n{main}\n'


def module(case: Case, head: str, functions: str, foot: str = "") -> str:
    """One module with the imports of all phases, and their functions."""
    docstring = "".join(f'"""{phase.docstring}"""\n\n' for phase in case.row.phases if phase.docstring)
    imports = "\n".join(phase.imports for phase in case.row.phases if phase.imports)
    return f"{docstring}{case.fill(imports)}\n{head}\n\n{functions}\n{foot}"


def parsed(case: Case, names: list[str], source: str) -> str:
    """Source text of a dictionary of typed values; `source` yields the text of NAME."""
    made = (
        f"{name!r}: " + PARSE.get(case.row.parameters[name].type, "{}").format(source.replace("NAME", name))
        for name in names
    )
    return "{" + ", ".join(made) + "}"


class PeerTool:
    """A tool: how a row becomes a project of its own, and how a phase is asked for."""

    name = ""
    source = ""
    """The file that holds the code of all phases; "" if each has its script."""
    outage = ""
    """A text in the output of a command whose failure says nothing about the row, as that of a server."""
    watches = False
    """Whether it sees what a phase reads."""

    def lay(self, case: Case) -> None:
        """Write the tool's files for the row as it is declared now."""
        raise NotImplementedError

    def ask(self, case: Case, phase: str) -> str:
        """Return the command that asks for a phase; "" is the whole project."""
        raise NotImplementedError

    def stored(self, case: Case, phase: str) -> Path:
        """Return the file that holds a phase's output."""
        return case.project / f"{phase}.txt"

    def unable(self, row: Row) -> str:
        """Say why a row cannot be expressed; empty when it can."""
        return ""

    def threads(self, case: Case) -> str:
        """Return source text that runs the project twice at once in one process."""
        return ""

    def needed(self, row: Row) -> str:
        """Name what the tool would have to be told for the row to be right."""
        return ""

    def tellable(self, row: Row) -> bool:
        """Return whether a project that tells the tool more can be measured."""
        return bool(row.reads or row.reads_variables or (row.scripts and self.source))

    def variables(self, case: Case) -> dict[str, str]:
        """Environment variables of the tool's commands."""
        return {}
