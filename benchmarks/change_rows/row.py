"""The types of a change row: a small project, one change to it, and the behaviour that is right afterwards.

Everything here is plain data. Paths and texts may hold these names, which `filled` replaces:

- `<project>`, `<outside>`: the project's folder and an empty folder beside it
- `<witness>`: a file, in neither of them, to which every phase appends its name and its arguments when it executes
- `<site>`: the folder of installed packages, where the row has an environment of its own
- `<address>`: a web address that serves the text of the last `Serve`; `<host>` is its host and port
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Must = Literal["run", "reuse", "run or ask", "mention"]
"""`mention`: run, ask, or reuse and name the change in a message."""


@dataclass(frozen=True)
class Write:
    """Give a file new content."""

    path: str
    text: str


@dataclass(frozen=True)
class Replace:
    """Replace a text inside a file."""

    path: str
    old: str
    new: str


@dataclass(frozen=True)
class Remove:
    path: str


@dataclass(frozen=True)
class Move:
    path: str
    to: str


@dataclass(frozen=True)
class Make:
    """Run the row's `makes` with this argument."""

    argument: str


@dataclass(frozen=True)
class Value:
    """Give a parameter another value."""

    name: str
    value: str


@dataclass(frozen=True)
class Variable:
    """Give an environment variable another value."""

    name: str
    value: str


@dataclass(frozen=True)
class Serve:
    """Let the row's web address answer with this text."""

    text: str


@dataclass(frozen=True)
class Ask:
    """Ask for a phase other than the last one."""

    phase: str


@dataclass(frozen=True)
class Damage:
    """Change bytes of a phase's stored output and leave its size as it was."""

    phase: str
    old: str
    new: str


@dataclass(frozen=True)
class Forget:
    """Delete a phase's stored output."""

    phase: str


@dataclass(frozen=True)
class Checkout:
    """Go on in a copy of the project that lies elsewhere."""


@dataclass(frozen=True)
class Declare:
    """Change fields of the row itself, such as its parameters, as one edits an MLproject file."""

    fields: Mapping[str, Any]


Edit = Write | Replace | Remove | Move | Make | Value | Variable | Serve | Ask | Damage | Forget | Checkout | Declare


@dataclass(frozen=True)
class Parameter:
    """A parameter with the value of the first run. A `type` of "" is a parameter without one."""

    value: str
    type: str = ""


@dataclass(frozen=True)
class Phase:
    """One step of a row's project.

    Attributes:
        name: also the name of its script, `NAME.py`, and of its result, `NAME.txt`.
        body: the body of a function of the same name, whose arguments are its needs, as text, and its parameters.
        imports: the lines above that function.
        arguments: its parameters. Those with a default in `defaults` need not be declared in the row.
        command: used in place of `python NAME.py` by tools that run commands; `{name}` stands for a parameter.
        keys: keys of `phase:` in the MLproject file.
        docstring: the first line of the script.
    """

    name: str
    body: str
    imports: str = ""
    needs: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    keys: Mapping[str, Any] = field(default_factory=dict)
    docstring: str = ""

    @property
    def script(self) -> str:
        return f"{self.name}.py"


@dataclass(frozen=True)
class Row:
    """A project, a change and the right answer.

    Attributes:
        number: its number in the table; several rows of one number are variants of it.
        title: the project and the change, in few words.
        must: the right answer when the last phase is asked for after the change.
        data: what the project of a tool's manual declares: data files, and files that the command names.
        scripts: likewise, the code that the command names, if it is not the phases' own scripts.
        reads: files that the phase depends on besides. A tool would have to be told of them.
        variables: environment variables of the first run.
        reads_variables: those of them that the phase depends on.
        code: the list of the `code:` key; other tools declare it as data.
        makes: source text of a Python program that writes files that are no text.
        requires: modules that the phase imports.
        own_environment: whether packages are installed for this row, into `<site>`.
        ignore: parameters that do not count.
        project_keys: further keys of the MLproject file.
        fails: whether the first run is meant to fail.
        expect: a text in the last line of the witness, if the last phase executed.
        says: a text of the message that makes the other answer right as well, for `mention` and `reuse`.
        ask: the phase asked for at the end; by default the last one with everything that it needs.
        only: the tools that this row is for; `why_only` says what the others lack.
        instead: another row for some of the tools.
        other_reader: whether only the reader of the file differs from the row above.
        threads: whether the row is about two runs at once in one process, with the values 1 and 2 of `rate`.
    """

    number: str
    title: str
    must: Must
    phases: tuple[Phase, ...]
    change: tuple[Edit, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    data: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    reads_variables: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    makes: str = ""
    requires: tuple[str, ...] = ()
    own_environment: bool = False
    ignore: tuple[str, ...] = ()
    project_keys: Mapping[str, Any] = field(default_factory=dict)
    fails: bool = False
    expect: str = ""
    says: str = ""
    ask: str = ""
    only: tuple[str, ...] = ()
    why_only: str = ""
    instead: Mapping[str, "Row"] = field(default_factory=dict)
    threads: bool = False
    other_reader: bool = False

    @property
    def last(self) -> Phase:
        return self.phases[-1]

    @property
    def key(self) -> str:
        """A name that no other row has."""
        return f"{self.number}: {self.title}"

    def declared(self, changes: Mapping[str, Any]) -> "Row":
        return replace(self, **changes)


def one(number: str, title: str, must: Must, body: str, change: tuple[Edit, ...], **fields: Any) -> Row:
    """A row with the single phase `train`. Fields of the phase and of the row may be given together."""
    names = [name for name in ("imports", "defaults", "command", "keys", "docstring") if name in fields]
    of_phase = {name: fields.pop(name) for name in names}
    arguments = (*fields.get("parameters", {}), *of_phase.get("defaults", {}))
    return Row(number, title, must, (Phase("train", body, arguments=arguments, **of_phase),), change, **fields)


def filled(text: str, places: Mapping[str, str]) -> str:
    """Replace `<name>` by its value, for every name in `places`."""
    for name, value in places.items():
        text = text.replace(f"<{name}>", value)
    return text
