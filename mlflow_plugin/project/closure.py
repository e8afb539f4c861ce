"""Follow a command to the files of the user's own code that it runs, and to the other files that it names.

Programs are followed through scripts, modules, imports and launchers. Other files and folders are collected apart, see
`named`.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from mlflow_plugin.project.command import (
    CODE_OPTION,
    MODULE_OPTION,
    OUTPUT_NAME,
    Word,
    placeholders,
    simple_commands,
)
from mlflow_plugin.project.docstrings import DOCUMENTING, digest_with_docstrings, read_everywhere
from mlflow_plugin.project.entry_points import modules_of_group, modules_of_script
from mlflow_plugin.project.file_code import (
    PROGRAM_SUFFIXES,
    SHELL_SUFFIXES,
    file_code_digest,
    interpreter_of,
    python_summary_of,
)
from mlflow_plugin.project.launchers import COPIERS, LAUNCHERS, WRITERS, program_place
from mlflow_plugin.project.module_finder import ModuleFinder
from mlflow_plugin.project.named import Named, is_readable_data
from mlflow_plugin.project.outputs import is_output
from mlflow_plugin.project.own_code import OwnCode, is_below
from mlflow_plugin.project.parameters import local_text
from mlflow_plugin.project.syntax import Import, imports_of_text

_INTERPRETERS = re.compile(r"(?:python|pypy)[\d.]*|bash|sh|zsh|torchrun|accelerate|Rscript|julia|node")
_DEPTH = 8
_Data = Literal["", "file", "any"]
"""Which data a word may name: none, a single file, or a folder and a pattern as well."""


def _documents(word: Word) -> bool:
    """Tell if a word of a command, or Python that stands in it, makes behaviour of docstrings."""
    return word.text in DOCUMENTING or any(name in word.template for name in ("__doc__", "getsource", "getdoc"))


class Closure:
    """The files of the user's own that a command reaches.

    Args:
        own: Tells them from others.
        outputs: Declared outputs, relative to the project. They are compared as outputs of runs.

    Attributes:
        programs: Absolute path -> digest of each file that is run: scripts, modules, build files.
        literal: Absolute path -> digest of other files of the user's own that the command names word for word. In the
            digest of the first version they counted as code.
        named: These and all other files and folders that the command names.
        inline: The command holds Python code itself, after `-c`.
    """

    def __init__(self, own: OwnCode, outputs: Sequence[str] = ()) -> None:
        self._own, self._outputs = own, tuple(outputs)
        self._project = own.project
        self._finder = ModuleFinder(own)
        self._begin()

    def _begin(self) -> None:
        self.programs: dict[str, str] = {}
        self.literal: dict[str, str] = {}
        self.named = Named()
        self.inline = self._is_documenting = False
        self._python: dict[str, dict[str, Any]] = {}
        self._followed: set[tuple[str, str]] = set()
        self._commands: set[tuple[str, str, str, bool]] = set()
        self._depth = 0

    def follow(self, command: str, values: Mapping[str, str]) -> None:
        """Collect what a command of the MLproject file reaches.

        Args:
            command: The command as declared.
            values: The text of each parameter that may stand in a file's name.

        Raises:
            PhaseError: A program cannot be read.
        """
        while True:
            before = self._finder.inserted
            self._begin()
            self._finder.forget_answers()
            self._follow_command(command, self._project, self._project, values)
            # A folder put on `sys.path` counts for the imports that were read before it as well.
            if self._finder.inserted == before:
                break
        everywhere = read_everywhere(self._python.values()) or ("all" if self._is_documenting else "")
        for file, summary in self._python.items():
            self.programs[file] = digest_with_docstrings(summary, everywhere)

    # --- commands ---

    def _follow_command(
        self, command: str, here: str, beside: str, values: Mapping[str, str] | None, *, literal: bool = True
    ) -> None:
        """Follow a command line, or the text of a script in the folder `beside`, that starts in the folder `here`."""
        place = (command, here, beside, literal)
        if place in self._commands or self._depth >= _DEPTH:  # a make target that calls make
            return
        self._commands.add(place)
        self._depth += 1
        folders = [here]
        for words in simple_commands(command, values, here, beside):
            program = program_place([word.text or "" for word in words])
            name = os.path.basename(words[program].text or "") if program < len(words) else ""
            for word in words[:program]:
                if word.template.startswith("PYTHONPATH="):
                    self._finder.extend((word.text or "").partition("=")[2])
            if name == "export" and len(words) > program + 1 and words[program + 1].template.startswith("PYTHONPATH="):
                self._finder.extend((words[program + 1].text or "").partition("=")[2])
            elif name == "cd" and len(words) > program + 1 and words[program + 1].text:
                target = os.path.join(folders[-1], words[program + 1].text or "")
                folders.append(self._own.located(os.path.normpath(target)))
            elif name not in WRITERS:
                self._follow_words(words, program, name, folders, literal)
        self._depth -= 1

    def _follow_words(
        self, words: Sequence[Word], program: int, name: str, folders: Sequence[str], literal: bool
    ) -> None:
        """Follow the words of one simple command, whose relative paths may start in any of the folders."""
        launcher = name
        self._is_documenting = self._is_documenting or any(map(_documents, words))
        options = [word.text or "" for word in words[program + 1 : -1]]
        self.inline = self.inline or (name.startswith("python") and any(map(CODE_OPTION.fullmatch, options)))
        if len(words) > program + 2 and words[program + 1].text == "-m":
            launcher, program = words[program + 2].text or "", program + 2
        if launcher in LAUNCHERS:
            self._follow_launcher(launcher, [word.text or "" for word in words[program + 1 :]], folders[-1])
        elif name and os.sep not in name and not _INTERPRETERS.fullmatch(name):
            for module in modules_of_script(name, self._project) if words[program].text == name else ():
                self._follow_python(self._finder.found(module.split("."), self._project), self._project)
        last = len(words) - 1 if name in COPIERS else len(words)
        previous = ""
        for place, word in enumerate(words[:last]):
            if word.text is not None and not word.template.startswith("PYTHONPATH="):
                # What a shell variable is set to is mostly a folder that other words start from.
                data: _Data = "" if place == program or launcher in LAUNCHERS else "any" if place > program else "file"
                for folder in folders:
                    self._follow_word(previous, word, folder, data, literal and word.text == word.template)
            previous = word.text or ""

    def _follow_word(self, previous: str, word: Word, folder: str, data: _Data, literal: bool) -> None:
        text = word.text or ""
        is_module = MODULE_OPTION.fullmatch(previous) is not None
        if is_module:
            self._follow_python(self._finder.found([*text.split("."), "__main__"], folder), folder)
        elif CODE_OPTION.fullmatch(previous) and text != previous:
            # The text is Python after `python -c` and a command after `sh -c`; the wrong reading finds nothing.
            for entry in imports_of_text(text):
                self._follow_python(self._finder.imported(entry, folder, folder), folder)
            if " " in text:
                self._follow_command(text, folder, folder, None, literal=literal)
        option, equals, value = text.rpartition("=")
        path = os.path.normpath(os.path.join(folder, local_text(value)))
        if "\0" in path:
            return
        path = self._own.located(path)
        naming = [option if equals else previous, *placeholders(word.template)]
        is_output = any(OUTPUT_NAME.fullmatch(name.lower()) for name in naming)
        if self._is_program(path):
            self._follow_program(path)
        elif is_module or is_output or word.value_alone or value[:1] == "-":
            return
        elif data == "any" or (data == "file" and os.path.isfile(path)):
            self._take_data(path, word.template.rpartition("=")[2], literal)

    def _take_data(self, path: str, text: str, literal: bool) -> None:
        """Take in a file, folder or pattern that a command names and that is no program.

        Outside the user's own folders its name is the text of the command, the same on every machine.
        """
        if is_below(self._project, path) or is_output(self._project, self._outputs, path):
            return
        if self._own.counts(path):
            name = self._own.name_of(path)
            digest = self.named.add(name, path, is_code=True)
            if literal and digest:
                self.literal[path] = digest
        elif is_readable_data(path, self._project) and not is_below(path, self._project):
            is_executable = os.path.isfile(path) and os.access(path, os.X_OK)
            if not is_executable and not path.endswith(".py"):
                self.named.add(text, path)

    # --- programs ---

    def _is_program(self, path: str) -> bool:
        if not self._own.counts(path):
            return False
        if "__main__.py" in self._finder.names_in(path):
            return True
        suffix = os.path.splitext(path)[1].lower()
        if suffix in PROGRAM_SUFFIXES:
            return os.path.isfile(path)
        return not suffix and os.path.isfile(path) and (os.access(path, os.X_OK) or interpreter_of(path) != "")

    def _follow_program(self, path: str) -> None:
        """Take in a program that a command names. A folder with a `__main__.py` is one too."""
        if "__main__.py" in self._finder.names_in(path):
            path = os.path.join(path, "__main__.py")
        if not os.path.isfile(path):
            return
        suffix, interpreter = os.path.splitext(path)[1].lower(), interpreter_of(path)
        if suffix == ".py" or interpreter == "python":
            self._follow_python([path], script_folder=os.path.dirname(path))
        elif path not in self.programs:
            self.programs[path] = file_code_digest(path)
            if suffix in SHELL_SUFFIXES or interpreter == "shell":
                text = Path(path).read_text(encoding="utf-8", errors="replace")
                self._follow_command(text, self._project, os.path.dirname(path), None)

    def _follow_launcher(self, name: str, words: Sequence[str], folder: str) -> None:
        launched = LAUNCHERS[name](words, folder)
        for path in launched.programs:
            if self._own.counts(path) and os.path.isfile(path):
                self.programs.setdefault(path, file_code_digest(path))
        for path in launched.scripts:
            if self._own.counts(path):
                self._follow_python([path], os.path.dirname(path))
        for path in launched.data:
            self._take_data(path, path, literal=False)
        for command in launched.commands:
            self._follow_command(command, launched.folder, launched.folder, None, literal=False)

    def _follow_python(self, files: list[str], script_folder: str) -> None:
        waiting = list(files)
        while waiting:
            file = waiting.pop()
            if (file, script_folder) not in self._followed and self._own.counts(file):
                self._followed.add((file, script_folder))
                summary = self._python[file] = python_summary_of(file)
                waiting += self._reached_from(summary, os.path.dirname(file), script_folder)

    def _reached_from(self, summary: Mapping[str, Any], folder: str, script_folder: str) -> list[str]:
        """The files that a Python file in a folder imports or loads."""

        def placed(base: str, path: str) -> str:
            return os.path.normpath(os.path.join(folder if base == "file" else self._project, path))

        self._finder.insert([placed(*entry) for entry in summary.get("path", ())])
        reached = [path for entry in summary.get("files", ()) if os.path.isfile(path := placed(*entry))]
        for entry in summary["imports"]:
            reached += self._finder.imported(Import(*entry), folder, script_folder)
        for group in summary.get("groups", ()):
            for module in modules_of_group(group, self._project):
                reached += self._finder.found(module.split("."), script_folder)
        return reached
