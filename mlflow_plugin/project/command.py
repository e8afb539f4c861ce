"""Read a command: its words, the parameters that they use, and the text that MLflow makes of it.

Home-made, since `shlex` alone knows neither MLflow's placeholders nor that an option and its value belong together.
"""

import os
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MODULE_OPTION = re.compile(r"-[A-Za-z]*m")
CODE_OPTION = re.compile(r"-[A-Za-z]*c")
OUTPUT_NAME = re.compile(
    r"-o|-{0,2}(?:(?:.*[-_])?outputs?|out|save|export|dest|logs?|results?)(?:[-_].*|file|dir|path|folder|put.*)?"
)
"""An option or a parameter that names a place to write to: `--out`, `--output-dir`, `save_path`, `-o`."""
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")

_COMMENT_LINE = re.compile(r"^\s*#.*$", re.MULTILINE)
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{(\w+)[^{}]*\}")
_ALONE = re.compile(r"(?:-{0,2}[\w-]+=)?\{\w+[^{}]*\}")
_COMMAND_TOKEN = re.compile(r"""\n|(?:\\.|[^\s"'\\]|"(?:\\.|[^"\\])*"|'[^']*'|["'\\])+""", re.DOTALL)
_SEPARATORS = ("&&", "||", "|", ";", "&")
_REDIRECT = re.compile(r"[<>&|]*>[<>&|]*")
_PUNCTUATION = "();<>|&\n"

# The shell's ways to write the working folder and the script's own folder. In a template of MLflow braces are doubled.
_HERE, _BESIDE = "\x01", "\x02"
_SCRIPT = r'"?\$\{*(?:0|BASH_SOURCE(?:\[0\])?)\}*"?'
_BESIDE_SCRIPT = rf"\$\(\s*dirname\s+(?:--\s+)?(?:{_SCRIPT}|\"?\$\((?:realpath|readlink -f)\s+{_SCRIPT}\)\"?)\s*\)"
_SPELLINGS = (
    (re.compile(rf"{_BESIDE_SCRIPT}|`\s*dirname\s+{_SCRIPT}\s*`|\$\{{+(?:0|BASH_SOURCE(?:\[0\])?)%/\*\}}+"), _BESIDE),
    (re.compile(rf'\$\(\s*cd\s+(?:--\s+)?"?{_BESIDE}"?\s*(?:&&|;)\s*pwd(?:\s+-P)?\s*\)'), _BESIDE),
    (re.compile(r"\$PWD\b|\$\{+PWD\}+|\$\(\s*pwd\s*\)|`\s*pwd\s*`"), _HERE),
)
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")


@dataclass(frozen=True)
class Word:
    """A word of a shell command without its quotes.

    Attributes:
        text: The word; None when it depends on something that is not known before the command runs.
        template: The word as it was written.
        value_alone: True when nothing but one parameter's value stands there, after an option's `=` or by itself.
    """

    text: str | None
    template: str
    value_alone: bool = False


def command_usage(command: str, parameters: Iterable[str]) -> tuple[str, dict[str, str]]:
    """Split a command template into its literal part and, per parameter, the tokens that use it.

    A token with `{name}` belongs to that parameter, and so does the option before it when the placeholder is a token of
    its own: `train.py --epochs {epochs}` has the literal part `train.py` and uses epochs as `--epochs {epochs}`. So a
    parameter can be added to a command and the literal part stays. One without an option counts with its place. What
    follows `&&`, `;` or `|` is another command, and the use is told to be that command's.
    `{{` and `}}` are literal braces. Unused parameters have no entry.
    """
    known = set(parameters)
    literal: list[str] = []
    usage: dict[str, list[str]] = {}
    option: str | None = None
    number = positional = 0
    for token in _COMMAND_TOKEN.findall(command.replace("\\\n", " ").strip()):
        names = [name for name in dict.fromkeys(placeholders(token)) if name in known]
        if not names:
            literal.append(token)
            option = token if token.startswith("-") else None
            number += token in _SEPARATORS or token.endswith(";")
            continue
        alone = re.fullmatch(r"\{\w+[^{}]*\}", token.strip("\"'")) is not None
        if alone and option is not None:
            token = f"{literal.pop()} {token}"
        elif not token.startswith("-"):
            place, positional = len(literal) + positional, positional + 1
            token = f"@{place} {token}"
        token = f"{token} of command {number}" if number else token
        for name in names:
            usage.setdefault(name, []).append(token)
        option = None
    return " ".join(literal), {name: " ".join(tokens) for name, tokens in usage.items()}


def placeholders(token: str) -> list[str]:
    """Return the names in braces in a word of a command."""
    return [match[1] for match in _PLACEHOLDER.finditer(token) if match[1]]


def rendered(word: str, values: Mapping[str, str]) -> str | None:
    """Return a word with the parameters' values in place, as MLflow does it; None when a name has no value.

    >>> rendered("models/{model}.py", {"model": "resnet"})
    'models/resnet.py'
    """
    if any(name not in values for name in placeholders(word)):
        return None
    doubled = {"{{": "{", "}}": "}"}
    return _PLACEHOLDER.sub(lambda match: values[match[1]] if match[1] else doubled[match[0]], word)


def simple_commands(command: str, values: Mapping[str, str] | None, here: str, beside: str) -> list[list[Word]]:
    """Return the words of each simple command of a shell command line or script, in order.

    Targets of output redirections and comment lines are left out. Variables that the text itself sets, those of the
    environment, `$PWD` and `$(dirname $0)` are replaced.

    Args:
        command: The text.
        values: The parameters' values of a template of an MLproject file; None for a script, where braces are text.
        here: The folder in which the command starts.
        beside: The folder of the script that the text is from.
    """
    command = _COMMENT_LINE.sub("", command).replace("\\\n", " ")
    for pattern, mark in _SPELLINGS:
        command = pattern.sub(mark, command)
    commands: list[list[Word]] = [[]]
    variables: dict[str, str] = {}
    skip = False
    for token in _lexed(command):
        if token and set(token) <= set(_PUNCTUATION):
            skip = _REDIRECT.fullmatch(token) is not None
            if not skip and token != "<":
                commands.append([])
            continue
        if not skip:
            word = _word(token, values, variables, {_HERE: here, _BESIDE: beside})
            commands[-1].append(word)
            if word.text is not None and ASSIGNMENT.match(word.text):
                name, _, value = word.text.partition("=")
                variables[name] = value
        skip = False
    return [words for words in commands if words]


def _word(token: str, values: Mapping[str, str] | None, variables: Mapping[str, str], marks: Mapping[str, str]) -> Word:
    text = rendered(token, values) if values is not None else token
    if text is not None and not token.startswith("PYTHONPATH="):
        text = _VARIABLE.sub(lambda match: _variable(match[1] or match[2], variables) or match[0], text)
    if values is None and text is not None and placeholders(text):
        text = None
    for mark, folder in marks.items():
        text = text.replace(mark, folder) if text is not None else None
    return Word(text, token, values is not None and _ALONE.fullmatch(token) is not None)


def _variable(name: str, variables: Mapping[str, str]) -> str:
    return variables[name] if name in variables else os.environ.get(name, "")


def _lexed(command: str) -> list[str]:
    lexer = shlex.shlex(command, posix=True, punctuation_chars=_PUNCTUATION)
    lexer.whitespace_split, lexer.commenters, lexer.whitespace = True, "", " \t\r"
    try:
        return list(lexer)
    except ValueError:  # an unclosed quote, or one in a comment: read the words without it
        return [word.strip("\"'") for word in re.findall(r"[<>]+|[;&|()\n]+|[^\s;&|()<>]+", command)]
