"""Read a command: its words, the parameters that they use, and the words that name code.

Home-made, since `shlex` alone knows neither MLflow's placeholders nor that an option and its value belong together.
"""

import re
import shlex
from collections.abc import Iterable

REDIRECT = re.compile(r"[<>&|]*>[<>&|]*")
MODULE_OPTION = re.compile(r"-[A-Za-z]*m")
CODE_OPTION = re.compile(r"-[A-Za-z]*c")

_COMMENT_LINE = re.compile(r"^\s*#.*$", re.MULTILINE)
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{(\w+)[^{}]*\}")
_COMMAND_TOKEN = re.compile(r"""\n|(?:\\.|[^\s"'\\]|"(?:\\.|[^"\\])*"|'[^']*'|["'\\])+""", re.DOTALL)
_SEPARATORS = ("&&", "||", "|", ";", "&")


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


def words_of(command: str) -> list[str]:
    """Return the words of a shell command or script without their quotes.

    Separators and redirections are words of their own. Comment lines are left out.
    """
    command = _COMMENT_LINE.sub("", command)
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        return list(lexer)
    except ValueError:  # an unclosed quote, or one in a comment: read the words without it
        return [word.strip("\"'") for word in re.findall(r"[<>]+|[^\s;&|()<>]+", command)]
