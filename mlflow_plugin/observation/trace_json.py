"""Check the JSON of a trace and turn it into columns. It comes from a store, so that nothing in it is believed.

Home-made, since pydantic goes through a list item by item: the checks here look at whole columns at once, and a verdict
has a few milliseconds.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from mlflow_plugin.observation.calls import MOST_CALLS, Call, Result
from mlflow_plugin.observation.files import DIGEST_BYTES, Files, ListedFolder

FORMAT = 1
LISTS = ("absent", "there", "gone_too", "peers", "unseen", "partly", "changed_while_read", "wrote")
MAPPINGS = ("variables", "packages", "environment_files", "references", "hub", "links", "uncompared")
NUMBERS = ("left_out", "looks_left_out")
_MOST_BYTES = 256_000_000
_MOST_ENTRIES = 1_000_000
_MOST_SIZE = 2**63
_DIGEST = re.compile(r"[0-9a-f]{64}")


def checked(data: bytes) -> dict[str, Any]:
    """Return the content of a trace's JSON; its columns are not checked yet. Raises ValueError."""
    if len(data) > _MOST_BYTES:
        raise ValueError(f"{len(data):,} bytes are more than a trace has")
    try:
        content = json.loads(data, parse_constant=_refused, parse_float=_refused)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"not JSON: {type(error).__name__}") from None
    if not isinstance(content, dict) or type(content.get("format")) is not int:
        raise ValueError("not a trace")
    if content["format"] > FORMAT:
        raise ValueError("it was made by a newer version of mlflow-phases")
    if content["format"] != FORMAT or type(content.get("coverage")) is not str:
        raise ValueError("not a trace")
    return content


def from_files(files: Files) -> dict[str, Any]:
    """Return files as plain values for JSON."""
    content: dict[str, Any] = {
        "folders": list(files.folders),
        "names": list(files.folders.values()),
        "sizes": files.sizes,
        "digests": files.digests.hex(),
    }
    if files.python:
        content["python"] = sorted(files.python)
    if files.also:
        content["also"] = {str(position): also for position, also in files.also.items()}
    return content


def to_files(content: object, most: int) -> Files:
    """Return the files of a trace's JSON. Raises ValueError."""
    if content is None:
        return Files()
    if not isinstance(content, dict):
        raise ValueError("`files` is no mapping")
    folders = _texts(content.get("folders"), "files.folders")
    names = content.get("names")
    if not isinstance(names, list) or len(names) != len(folders) or len(set(folders)) != len(folders):
        raise ValueError("`files.names` does not fit `files.folders`")
    groups = {folder: _bare_names(group) for folder, group in zip(folders, names, strict=True)}
    number = sum(map(len, groups.values()))
    if number > most:
        raise ValueError(f"{number:,} files are more than a trace has")
    sizes = _integers(content.get("sizes"), "files.sizes")
    digests = _bytes(content.get("digests"))
    if len(sizes) != number or len(digests) != DIGEST_BYTES * number:
        raise ValueError("the columns of `files` have different lengths")
    python = _integers(content.get("python", []), "files.python")
    if python and max(python) >= number:
        raise ValueError("`files.python` names files that are not there")
    return Files(groups, tuple(sizes), digests, frozenset(python), _also(content.get("also", {}), number))


def to_folders(content: object) -> tuple[ListedFolder, ...]:
    """Return the listed folders of a trace's JSON. Raises ValueError."""
    if not isinstance(content, list):
        raise ValueError("`folders` is no list")
    return tuple(_folder(entry) for entry in content)


def plain_columns(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the lists and mappings of texts. Raises ValueError."""
    columns: dict[str, Any] = {name: tuple(_texts(content.get(name, []), name)) for name in LISTS}
    for name in MAPPINGS:
        if name != "hub":
            columns[name] = _mapping(content.get(name, {}), name, optional=name == "variables")
    return columns


def hub(content: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return repository -> revision and branch. Raises ValueError."""
    entries = content.get("hub", {})
    if not isinstance(entries, dict):
        raise ValueError("`hub` is no mapping")
    _texts(list(entries), "hub")
    found = {name: _texts(entry, "hub") for name, entry in entries.items()}
    if any(len(entry) != 2 for entry in found.values()):
        raise ValueError("`hub` holds something else than revisions")
    return found


def calls(content: object) -> tuple[Call, ...]:
    """Return the steps that the run started. Raises ValueError."""
    if not isinstance(content, list) or len(content) > MOST_CALLS:
        raise ValueError("`calls` is no list")
    return tuple(map(_call, content))


def _call(entry: object) -> Call:
    if not isinstance(entry, dict) or not isinstance(entry.get("results"), dict):
        raise ValueError("`calls` holds something else than calls")
    results = {phase: _texts(result, "calls") for phase, result in entry["results"].items()}
    if any(len(result) != len(Result._fields) for result in results.values()):
        raise ValueError("`calls` holds something else than results")
    project, entry_point, base, experiment = _texts(
        [entry.get(key, "") for key in ("project", "entry_point", "base", "experiment")], "calls"
    )
    parameters, paths, variables = (
        {name: str(text) for name, text in _mapping(entry.get(key, {}), "calls", optional=False).items()}
        for key in ("parameters", "paths", "variables")
    )
    runs = {phase: Result(*result) for phase, result in results.items()}
    hidden = tuple(_texts(entry.get("hidden", []), "calls"))
    return Call(project, entry_point, parameters, paths, base, experiment, runs, hidden, variables)


def count(value: object, name: str) -> int:
    """Return a number from zero. Raises ValueError."""
    return _integers([value], name)[0]


def sizes(value: object) -> dict[str, int]:
    """Return name -> size. Raises ValueError."""
    if not isinstance(value, dict):
        raise ValueError("`sizes` is no mapping")
    return dict(zip(_texts(list(value), "sizes"), _integers(list(value.values()), "sizes"), strict=True))


def _also(content: object, number: int) -> dict[int, tuple[str, ...]]:
    if not isinstance(content, dict):
        raise ValueError("`files.also` is no mapping")
    also = {}
    for position, digests in content.items():
        if not position.isascii() or not position.isdigit() or len(position) > 9 or int(position) >= number:
            raise ValueError("`files.also` names files that are not there")
        texts = _texts(digests, "files.also")
        if any(text and not _DIGEST.fullmatch(text) for text in texts):
            raise ValueError("`files.also` holds something else than digests")
        also[int(position)] = tuple(texts)
    return also


def _folder(entry: object) -> ListedFolder:
    if not isinstance(entry, list) or len(entry) != len(ListedFolder._fields):
        raise ValueError("`folders` holds something else than folders")
    name, digest, number, names, own = entry
    _texts([name, digest], "folders")
    if not _DIGEST.fullmatch(digest):
        raise ValueError("`folders` holds something else than digests")
    return ListedFolder(
        name,
        digest,
        _integers([number], "folders")[0],
        None if names is None else _bare_names(names),
        _bare_names(own),
    )


def _texts(value: object, name: str) -> list[str]:
    if not isinstance(value, list) or len(value) > _MOST_ENTRIES or not set(map(type, value)) <= {str}:
        raise ValueError(f"`{name}` is no list of texts")
    if "\0" in "".join(value):
        raise ValueError(f"`{name}` holds a NUL")
    return value


def _bare_names(value: object) -> tuple[str, ...]:
    names = tuple(_texts(value, "names"))
    if "/" in "".join(names) or not {"", ".", ".."}.isdisjoint(names):
        raise ValueError("`names` holds something else than bare names")
    return names


def _integers(value: object, name: str) -> list[int]:
    if not isinstance(value, list) or len(value) > _MOST_ENTRIES or not set(map(type, value)) <= {int}:
        raise ValueError(f"`{name}` is no list of whole numbers")
    if value and (min(value) < 0 or max(value) >= _MOST_SIZE):
        raise ValueError(f"`{name}` holds numbers out of range")
    return value


def _mapping(value: object, name: str, *, optional: bool) -> dict[str, str | None]:
    if not isinstance(value, dict):
        raise ValueError(f"`{name}` is no mapping")
    _texts(list(value), name)
    values: Iterable[object] = value.values()
    _texts([one for one in values if not (optional and one is None)], name)
    return value


def _bytes(value: object) -> bytes:
    if not isinstance(value, str):
        raise ValueError("`files.digests` is no text")
    try:
        # Hexadecimal, since it is read faster than base64.
        return bytes.fromhex(value)
    except ValueError:
        raise ValueError("`files.digests` is not hexadecimal") from None


def _refused(text: str) -> NoReturn:
    raise ValueError(f"{text[:20]} is no whole number")
