"""Remember what a process tree was given when it began: its variables, by their digests, and its standard input."""

import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from mlflow_plugin.observation.coverage import ISOLATED
from mlflow_plugin.observation.injected._mlflow_phases_variables import digest_of, is_set_by_others, shell_variables
from mlflow_plugin.observation.recording import Recording
from mlflow_plugin.observation.standard_input import READ, StandardInput
from mlflow_plugin.project.file_code import SHELL_SUFFIXES, interpreter_of

_FILE = "beginning"
_MOST_BYTES = 1 << 20
_MAKEFILES = {"GNUmakefile", "Makefile", "makefile", "dvc.yaml"}
_MAKE_USE = re.compile(r"\$[({](\w+)[)}]")
_QUOTED = re.compile(r"""["'](\w+)["']""")
# Perl, Ruby and Julia, JavaScript, R, Lua.
_BY_LANGUAGE = re.compile(
    r"""\$ENV\{\s*["']?(\w+)|\bENV(?:\[|\.fetch\(|\.get\()\s*["'](\w+)|get\(ENV,\s*["'](\w+)|process\.env\.(\w+)"""
    r"""|process\.env\[\s*["'](\w+)|Sys\.getenv\(\s*["'](\w+)|os\.getenv\(\s*["'](\w+)"""
)
_LANGUAGES = {".pl", ".pm", ".rb", ".jl", ".js", ".mjs", ".ts", ".r", ".lua"}

WHOLE_ENVIRONMENT = "the whole environment was copied; of its variables only those asked for by name are compared"


def environment_at_start() -> dict[str, str]:
    """Return the variables that this process was started with; those that it has now where the kernel cannot tell."""
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = os.fsdecode(file.read()).split("\0")
    except OSError:
        return dict(os.environ)
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


class Beginning:
    """What a process tree was given.

    Args:
        environment: The variables of the environment.
        standard_input: The state of standard input.
    """

    def __init__(self, environment: Mapping[str, str], standard_input: StandardInput) -> None:
        told = {name: digest_of(name, value) for name, value in environment.items() if not is_set_by_others(name)}
        self._digests: dict[str, str | None] = {name: None if one == "-" else one for name, one in told.items()}
        self._input = standard_input
        self._input_was_read = False
        self._pid = os.getpid()

    @classmethod
    def now(cls) -> "Beginning":
        """Return what this process has now."""
        return cls(os.environ, StandardInput.now())

    def changes(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the digests of variables that have other values than the tree was given, "" for one that is not set.

        Without those that may be secrets, which are never compared.
        """
        now = {name: digest_of(name, value) for name, value in environment.items() if not is_set_by_others(name)}
        told = {name: now.get(name, "") for name in sorted({*now, *self._digests})}
        return {name: one for name, one in told.items() if one not in ("-", self._digests.get(name, ""))}

    def save(self, folder: Path) -> None:
        """Write it down for the processes of the tree, in the private folder of the records."""
        content = json.dumps([self._digests, self._input, self._pid])
        (folder / _FILE).write_text(content, encoding="utf-8", errors="surrogateescape")

    @classmethod
    def of(cls, folder: Path) -> "Beginning":
        """Return what the process that began to record into a folder wrote down; what this one has, without that."""
        beginning = cls.now()
        try:
            text = (folder / _FILE).read_text(encoding="utf-8", errors="surrogateescape")
            digests, standard_input, pid = json.loads(text)
            beginning._digests, beginning._input, beginning._pid = (
                dict(digests),
                StandardInput(*standard_input),
                int(pid),
            )
        except (OSError, ValueError, TypeError):
            pass
        return beginning

    def completed(self, recording: Recording, command: str, files: Collection[Path]) -> Recording:
        """Return a recording with what only the text of the code tells, and without what the tree gave to itself.

        A variable counts by the value that the tree was given. One that had other values alone was set by the tree.

        Args:
            recording: What was seen.
            command: The command of the phase.
            files: The files that count as its code.
        """
        variables = {
            name: self._digests.get(name, "")
            for name, seen in recording.variables.items()
            if self._digests.get(name, "") in recording.values.get(name, {seen})
        }
        named, remarks = self._in_text(command, files, recording)
        variables.update((name, self._digests.get(name, "")) for name in named)
        self._input_was_read = self._input_was_read or self._input.was_read(self._input_now())
        unseen = (*recording.unseen, READ) if self._input_was_read else recording.unseen
        return replace(recording, variables=variables, unseen=unseen, partly=(*recording.partly, *remarks))

    def _input_now(self) -> StandardInput:
        """The standard input of the tree. That of this process may be the end of a pipe within it."""
        now = StandardInput.now()
        if not self._input.kind or now.identity == self._input.identity or self._pid == os.getpid():
            return now
        return StandardInput.of_process(self._pid)

    def _in_text(self, command: str, files: Collection[Path], recording: Recording) -> tuple[set[str], list[str]]:
        """The variables that the texts of the code name, and what is to be said of them."""
        named = shell_variables(command, self._digests)
        for path in {*map(str, files), *(path for path in recording.read if _is_script(path))}:
            named |= self._in_script(path)
        unobserved = [path for path in map(str, files) if path.endswith(".py")] if ISOLATED in recording.partly else []
        for path in {*recording.copies, *unobserved}:
            # What follows a copy is not seen: every variable counts whose name stands in the code beside it.
            named |= self._quoted(_text(path))
        everything = "*" in named or bool(recording.copies)
        return named - {"*"}, [WHOLE_ENVIRONMENT] if everything else []

    def _quoted(self, text: str) -> set[str]:
        """The variables whose name, or whose beginning as in `startswith("APP_")`, stands in quotes."""
        quoted = set(_QUOTED.findall(text))
        prefixes = tuple(one for one in quoted if one.endswith("_") and len(one) > 1)
        return {name for name in self._digests if name in quoted or name.startswith(prefixes)}

    def _in_script(self, path: str) -> set[str]:
        """The variables that a script names which is not Python."""
        suffix = os.path.splitext(path)[1].lower()
        if suffix in SHELL_SUFFIXES or interpreter_of(path) == "shell":
            return shell_variables(_text(path), self._digests)
        if os.path.basename(path) in _MAKEFILES or suffix == ".mk":
            text = _text(path)
            # A Makefile sets most of what it uses; the rest, and what a caller overrides, comes from the environment.
            made = {name for name in _MAKE_USE.findall(text) if name in self._digests}
            return shell_variables(text.replace("$$", "$"), self._digests) & set(self._digests) | made
        if suffix in _LANGUAGES:
            names = {name for group in _BY_LANGUAGE.findall(_text(path)) for name in group if name}
            return {name for name in names if not is_set_by_others(name)}
        return set()


def _is_script(path: str) -> bool:
    suffix = os.path.splitext(path)[1].lower()
    return suffix in SHELL_SUFFIXES or suffix in _LANGUAGES


def _text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
