"""The code and the environment that a run was computed with, kept with it for later comparison.

Two files among its artifacts, `provenance/code.json` and `provenance/environment.json`, made to be read in the MLflow
UI too: a file's text is a list of its lines. What comes back from a store is checked before it is believed.
"""

import json
import logging
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from mlflow_plugin.errors import NewerFormatError, PhaseError
from mlflow_plugin.format import short
from mlflow_plugin.machine.environment_facts import FORMAT_VERSION as ENVIRONMENT_FORMAT_VERSION

_logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

FORMAT_VERSION = 1
FILE_BYTES = 256 * 1024
FILE_LINES = 20_000
FILES = 2000
RECORD_BYTES = 2_000_000
"""A longer record is not read."""
_FOR_NAMES = 500_000
_NAME_LENGTH = 1024
_PATIENCE_SECONDS = 2.0

_TOO_MUCH = "all files together are too large"

_SECRET_SUFFIXES = {".pem", ".key", ".p8", ".p12", ".pfx", ".ppk", ".jks", ".keystore", ".kdbx", ".gpg", ".asc"}
_SECRET_SUFFIXES |= {".env", ".tfvars", ".tfstate"}
_SECRET_WORDS = "secrets? credentials? creds passwords? passwd htpasswd netrc pgpass kubeconfig apikeys? api_keys?"
_SECRET_WORDS += " access_keys? private_keys? service_account id_rsa id_dsa id_ecdsa id_ed25519"
_SECRET_NAME = re.compile(f"(^|_)({_SECRET_WORDS.replace(' ', '|')})(_|$)")
_TOKEN_NAME = re.compile(r"(^tokens|(^|_)token)$")  # A tokenizer's files speak of tokens as well.
_SECRET_TEXT = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY|[a-z]://[\w.+-]+:[^\s/@:{}<>$\"']+@"
    r"|(?<![A-Za-z0-9])(AKIA[0-9A-Z]{16}(?![0-9A-Z])|hf_[A-Za-z0-9]{30}|gh[a-z]_[A-Za-z0-9]{36}|glpat-[\w-]{20}"
    r"|github_pat_[A-Za-z0-9_]{30}|xox[a-z]-[\w-]{10}|AIza[\w-]{35}|sk-(?=[\w-]{0,30}\d)[\w-]{32})"
)


@dataclass(frozen=True)
class CodeFile:
    """A file that counts for the code digest: the digest's first 12 hex digits, and its text, or why that is not
    kept.
    """

    digest: str
    text: str | None = None
    not_kept: str = ""


@dataclass(frozen=True)
class CodeRecord:
    """The code of a run: its command as declared, and its files by path relative to the project. `complete` is False
    when there are more files than are listed.
    """

    command: str
    files: Mapping[str, CodeFile]
    complete: bool = True


@dataclass(frozen=True)
class EnvironmentRecord:
    """The environment of a run: `settings` are Python, platform, driver and variables by name; `packages` versions."""

    settings: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)


# --- making ---


def code_of(
    directory: Path, command: str, digests: Mapping[str, str], elsewhere: Mapping[str, Path] | None = None
) -> CodeRecord:
    """Record the text of each of these files, as far as it is text, not secret by its name, and small enough.

    When all together are too long, the largest are left out. A file that cannot be read has no text.

    Args:
        directory: The project's folder, which the names in `digests` count from.
        command: The command as declared.
        digests: Name -> digest of each file of the code.
        elsewhere: Name -> path of those that do not lie where their name says.
    """
    chosen = sorted(name for name in digests if len(name) <= _NAME_LENGTH)[:FILES]
    paths = {name: (elsewhere or {}).get(name, directory / name) for name in chosen}
    sizes = {name: _size(paths[name]) for name in chosen}
    files = {}
    left = RECORD_BYTES - _FOR_NAMES - len(json.dumps(command)) - 1000
    for name in sorted(chosen, key=sizes.__getitem__):
        # What is not kept need not be read: a project may list all of its data as its code.
        fits = sizes[name] <= left or sizes[name] > FILE_BYTES
        file = _read(paths[name], name, digests[name]) if fits else CodeFile(digests[name], None, _TOO_MUCH)
        size = _written_length(file.text or "")
        files[name] = file if size <= left else CodeFile(file.digest, None, _TOO_MUCH)
        left -= min(size, left)
    return CodeRecord(command, files, len(chosen) == len(digests))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _written_length(text: str) -> int:
    """Characters that a text takes in the record: each line stands on a line of its own there."""
    return len(json.dumps(text)) + 8 * (text.count("\n") + 1)


def _read(path: Path, name: str, digest: str) -> CodeFile:
    if is_secret(name) or is_secret(os.path.basename(os.path.realpath(path))):
        return CodeFile(digest, None, "its name says that it is secret")
    try:
        if not path.is_file():
            return CodeFile(digest, None, "it could not be read")
        with open(path, "rb") as file:
            content = file.read(FILE_BYTES + 1)
    except OSError:
        return CodeFile(digest, None, "it could not be read")
    if len(content) > FILE_BYTES:
        return CodeFile(digest, None, f"it is larger than {FILE_BYTES // 1024} KB")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return CodeFile(digest, None, "it is no text")
    if "\0" in text:
        return CodeFile(digest, None, "it is no text")
    if text.count("\n") >= FILE_LINES:
        return CodeFile(digest, None, f"it has more than {FILE_LINES} lines")
    if _SECRET_TEXT.search(text):
        return CodeFile(digest, None, "it holds what looks like a key or a password")
    return CodeFile(digest, text)


def is_secret(name: str) -> bool:
    """Return True if a file's path suggests keys or passwords. Python modules may be named after their subject."""
    path = PurePosixPath(name.lower())
    while path.parts[:1] == ("..",):  # code that projects share lies above the project
        path = PurePosixPath(*path.parts[1:])
    if path.suffix == ".py":
        return False
    words = [re.sub(r"[^a-z0-9]+", "_", part) for part in (*path.parent.parts, path.stem)]
    named = any(_SECRET_NAME.search(part) for part in words) or _TOKEN_NAME.search(words[-1]) is not None
    return named or path.suffix in _SECRET_SUFFIXES or any(part.startswith(".") for part in path.parts)


def code_json(record: CodeRecord) -> str:
    """Text that `read_code` reads back as an equal record."""
    files: dict[str, dict[str, object]] = {}
    for name, file in sorted(record.files.items()):
        kept = {"lines": file.text.split("\n")} if file.text is not None else {"not_kept": file.not_kept}
        files[name] = {"digest": file.digest, **kept}
    content = {"command": record.command, "complete": record.complete, "files": files}
    return json.dumps({"format_version": FORMAT_VERSION, **content}, indent=1) + "\n"


def environment_json(facts: Mapping[str, object]) -> str:
    """`environment_facts` as a text for people and for `read_environment`."""
    return json.dumps(facts, indent=1) + "\n"


def keep(client: "MlflowClient", run_id: str, path: str, make: Callable[[], str]) -> None:
    """Makes and uploads a text that the work can do without. It is waited for two seconds at most: neither a store that
    is away nor a slow disk holds the work up, and whatever goes wrong is told and no more.
    """

    def upload() -> None:
        try:
            client.log_text(run_id, make(), path)
        except Exception as error:  # As many kinds as there are stores.
            why = " ".join(str(error).split())[:200]
            _logger.warning(
                f"run {short(run_id)}: {path} could not be saved ({type(error).__name__}: {why}); the work goes on"
            )

    uploading = threading.Thread(target=upload, name=f"keeping {path}", daemon=True)
    uploading.start()
    uploading.join(_PATIENCE_SECONDS)
    if uploading.is_alive():
        _logger.info(f"run {short(run_id)}: saving {path} takes long; the work goes on meanwhile")


# --- reading back ---


def read_code(text: str) -> CodeRecord:
    """Raises PhaseError when the record is too long, damaged or of a newer version. Files that are not described as
    they should be are left out.
    """
    content = _content(text, FORMAT_VERSION)
    described = _mapping(content.get("files"))
    files = {
        name: file
        for name, entry in list(described.items())[:FILES]
        if len(name) <= _NAME_LENGTH and (file := _code_file(entry)) is not None
    }
    command, complete = content.get("command"), content.get("complete") is True and len(files) == len(described)
    return CodeRecord(command if isinstance(command, str) else "", files, complete)


def _code_file(entry: object) -> CodeFile | None:
    described = _mapping(entry)
    digest, lines, why = described.get("digest"), described.get("lines"), described.get("not_kept", "")
    if not isinstance(digest, str) or not isinstance(why, str):
        return None
    if not isinstance(lines, list) or len(lines) > FILE_LINES or not all(isinstance(line, str) for line in lines):
        return CodeFile(digest[:64], None, why[:200])
    text = "\n".join(lines)
    if len(text) > FILE_BYTES:
        return CodeFile(digest[:64], None, f"it is larger than {FILE_BYTES // 1024} KB")
    return CodeFile(digest[:64], text)


def read_environment(text: str) -> EnvironmentRecord:
    """Raises PhaseError as `read_code` does. What is no text is left out."""
    content = _content(text, ENVIRONMENT_FORMAT_VERSION)
    settings = {name: content.get(name) for name in ("python", "platform", "gpu_driver")}
    settings |= _mapping(content.get("variables"))
    return EnvironmentRecord(_texts(settings), _texts(content.get("packages")))


def _content(text: str, newest: int) -> dict[str, Any]:
    if len(text) > RECORD_BYTES:
        raise PhaseError(f"it is longer than {RECORD_BYTES:,} characters")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise PhaseError("it is damaged") from None
    version = content.get("format_version") if isinstance(content, dict) else None
    if type(version) is not int or version < 1:
        raise PhaseError("it is damaged")
    if version > newest:
        raise NewerFormatError("it was written by a newer mlflow-phases; upgrade to read it")
    return dict(content)


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: object) -> dict[str, str]:
    kept = [(name, one) for name, one in _mapping(value).items() if isinstance(one, str) and len(name) <= 200]
    return {name: one[:500] for name, one in kept[:FILES]}
