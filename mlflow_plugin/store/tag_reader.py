"""The tags of one run, read one by one: each is what it should be, or is noted as nonsense and left out."""

import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.markdown import one_line, printable
from mlflow_plugin.store.manifest import safe_relative_path
from mlflow_plugin.store.untrusted import is_experiment_id, is_run_id, moment, number, parsed

__all__ = ["CHECKPOINT_NAME", "TagReader", "is_in_future"]

CHECKPOINT_NAME = re.compile(r"(?:checkpoints/)?step-\d{6,15}", re.ASCII)
_DIGEST = re.compile("[0-9a-f]{64}")
_MODEL_ID = re.compile(r"[\w-]{1,100}", re.ASCII)
_PLAIN_NAME = re.compile(r"(?:\w[\w.+=-]*/)*\w[\w.+=-]*")
"""Names of files that need no closer look: a run may list a hundred, and an experiment has thousands of runs."""
_YEAR_SECONDS = 366 * 86_400.0
MOST = 1e15
"""No amount of time, money or steps is larger. The sums of larger ones overflow."""
_LONGEST_TEXT = 8000
_SHOWN = 40
_NO_REASON = "no reason is given"


def is_in_future(seconds: float) -> bool:
    """Return whether a time, in seconds since 1970, is later than any wrong clock explains."""
    return seconds > time.time() + _YEAR_SECONDS


class TagReader:
    """Read the tags of a run.

    Attributes:
        unreadable: What is nonsense so that nothing may be built on the run, one sentence each.
        ignored: What is nonsense, was left out, and says nothing about the result of the run.
    """

    def __init__(self, tags: Mapping[str, str]) -> None:
        self._tags = tags
        self.unreadable: list[str] = []
        self.ignored: list[str] = []

    def lines(self, key: str) -> str:
        """Return a text for people, without characters that a terminal obeys."""
        return printable(self._tags.get(key, "")[:_LONGEST_TEXT])

    def line(self, key: str) -> str:
        """Return a text of one line: what stands in the middle of sentences forges no further ones."""
        return self.lines(key).replace("\n", " ")

    def mark(self, key: str) -> str:
        """Return a text that counts by its presence: an empty one was set as well."""
        return (self.line(key).strip() or _NO_REASON) if key in self._tags else ""

    def prefixed(self, prefix: str) -> dict[str, str]:
        """Return the tags that begin with a prefix, by the rest of their names."""
        return {key.removeprefix(prefix): value for key, value in self._tags.items() if key.startswith(prefix)}

    def run_id(self, key: str, *, needed: bool = True) -> str:
        """Return the id of a run; empty for none. Nonsense in place of one makes the run unreadable if it is needed."""
        return self._formed(key, is_run_id, "is no run's id", needed=needed)

    def run_ids(self, prefix: str) -> dict[str, str]:
        """Return the ids of runs in the tags that begin with a prefix."""
        found = self.prefixed(prefix)
        for name, text in found.items():
            if not is_run_id(text):
                self._note(f"{prefix}{name}", "is no run's id", text)
        return {name: text for name, text in found.items() if is_run_id(text)}

    def listed_ids(self, keys: list[str], what: str) -> frozenset[str]:
        """Return the ids of runs, or of experiments, in tags that list them with commas between."""
        valid = is_run_id if what == "run" else is_experiment_id
        ids: set[str] = set()
        for key in keys:
            listed = [one for one in self._tags.get(key, "").split(",") if one]
            if wrong := next((one for one in listed if not valid(one)), None):
                self._note(key, f"lists what is no {what}'s id", wrong)
            ids.update(filter(valid, listed))
        return frozenset(ids)

    def time(self, key: str, *, needed: bool = False) -> datetime | None:
        """Return a time; None for none."""
        text = self._tags.get(key)
        read = moment(text)
        if text is not None and read is None:
            self._note(key, "is no time", text, needed=needed)
        elif read is not None and is_in_future(read.timestamp()):
            self._note(key, "lies in the future", text or "", needed=needed)
            return None
        return read

    def digest(self, key: str) -> str:
        """Return a sha256; empty for none."""
        return self._formed(key, lambda text: _DIGEST.fullmatch(text) is not None, "is no digest", needed=True)

    def checkpoint(self, key: str) -> str:
        """Return the name of a checkpoint; empty for none."""
        is_name = CHECKPOINT_NAME.fullmatch
        return self._formed(key, lambda text: is_name(text) is not None, "is no checkpoint's name", needed=False)

    def mapping(
        self, key: str, check: Callable[[dict[str, Any]], str] = lambda content: "", *, needed: bool = False
    ) -> dict[str, Any]:
        """Return a JSON object; empty for none.

        Args:
            key: The tag.
            check: Says what is wrong with an object; empty when nothing is.
            needed: Nothing may be built on a run without it.
        """
        text = self._tags.get(key)
        if text is None:
            return {}
        content = parsed(text)
        wrong = check(content) if isinstance(content, dict) else "is no JSON object"
        if wrong:
            self._note(key, wrong, text, needed=needed)
            return {}
        return dict(content)

    def heartbeat(self, key: str) -> dict[str, Any]:
        """Return a heartbeat without the values that are nonsense: those that are left may prove a process alive."""
        content = self.mapping(key)
        kept = {name: value for name, value in content.items() if _fits_heartbeat(name, value)}
        if wrong := next((name for name in content if name not in kept), ""):
            self._note(key, f"has a nonsensical `{one_line(wrong)[:40]}`", str(content[wrong]), needed=False)
        return kept

    def _formed(self, key: str, is_right: Callable[[str], bool], wrong: str, *, needed: bool) -> str:
        text = self._tags.get(key)
        if text is None or is_right(text):
            return text or ""
        self._note(key, wrong, text, needed=needed)
        return ""

    def fault(self, sentence: str) -> None:
        """Note something else that makes the run unreadable."""
        self.unreadable.append(sentence)

    def _note(self, key: str, wrong: str, text: str, *, needed: bool = True) -> None:
        sentences = self.unreadable if needed else self.ignored
        sentences.append(f"its tag {one_line(key)[:100]} {wrong}: {shown(text)}")


def shown(text: str) -> str:
    """Return the beginning of a nonsensical text in quotes, on one line."""
    return f"'{one_line(text[:_SHOWN])}{'...' if len(text) > _SHOWN else ''}'"


# --- the objects in tags. Each check says what is wrong, and nothing for an object that is as it should be ---


def check_fingerprint(content: dict[str, Any]) -> str:
    """Check an `Identity.fingerprint`: what it lacks is compared as lacking, what it has must have the right form."""
    for name in ("project", "phase", "command", "code", "programs"):
        if not isinstance(content.get(name, ""), str):
            return f"has a `{name}` that is no text"
    for name in ("inputs", "files", "named"):
        if not _is_texts_by_name(content.get(name, {})):
            return f"has `{name}` that are no texts by name"
    parameters = content.get("parameters", {})
    if not isinstance(parameters, dict) or not all(_is_texts(entry) for entry in parameters.values()):
        return "has `parameters` that are no values by name"
    if not all(_is_texts(content.get(name, [])) for name in ("image", "written")):
        return "has an `image`, or names under `written`, that are no texts"
    return ""


def check_outputs(content: dict[str, Any]) -> str:
    """Check where the outputs of a run lie: no name may lead out of the run's folder."""
    folder, models, sizes = content.get("folder", ""), content.get("models") or {}, content.get("sizes") or {}
    if not isinstance(folder, str) or not _is_texts_by_name(models) or not isinstance(sizes, dict):
        return "does not list outputs"
    if not all(type(size) is int and 0 <= size < 2**63 for size in sizes.values()):
        return "lists sizes that are no numbers of bytes"
    if not all(map(_MODEL_ID.fullmatch, models.values())):
        return "lists what is no model's id"
    for name in filter(None, (folder, *models, *sizes)):
        if not _PLAIN_NAME.fullmatch(name):
            try:
                safe_relative_path(name)
            except PhaseError:
                return "names a file outside of the run's folder"
    return ""


def check_reads(content: dict[str, Any]) -> str:
    """Check the entry that names the trace of a run."""
    digest = content.get("sha256")
    return "" if isinstance(digest, str) and _DIGEST.fullmatch(digest) else "names no record of what it read"


def _fits_heartbeat(name: str, value: object) -> bool:
    """Return whether a value can be that of a heartbeat. People are told them as parts of commands."""
    if name in ("host", "boot"):
        return isinstance(value, str)
    if name in ("pid", "by", "beat"):
        return type(value) is int and 0 <= value < 2**53
    amount = number(value)
    if name == "at":  # One of the far future would count as alive for ever.
        return amount is not None and amount >= 0 and not is_in_future(amount)
    if name in _AMOUNTS:
        optional = value is None and name not in ("up", "every")
        return optional or (amount is not None and abs(amount) <= MOST)
    return not isinstance(value, dict | list)


_AMOUNTS = {"up", "every", "began", "step", "total", "since_step", "seconds_per_step"}
_AMOUNTS |= {f"{what}_percent" for what in ("process", "cpu", "memory", "gpu", "gpu_memory")}


def check_texts_by_name(content: dict[str, Any]) -> str:
    """Check an object of texts."""
    return "" if _is_texts_by_name(content) else "holds something else than texts"


def check_steps(content: dict[str, Any]) -> str:
    """Check the runs that count for each step."""
    fine = all(_is_texts(runs) and all(not one or is_run_id(one) for one in runs) for runs in content.values())
    return "" if fine else "holds something else than runs by step"


def check_matrix(content: dict[str, Any]) -> str:
    """Check what is kept of the matrix of a set."""
    count = content.get("count", 0)
    return "" if type(count) is int and 0 <= count < 10**9 else "has a `count` that is no number of runs"


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_texts_by_name(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())
