"""The differences in the code of two runs, file by file. Edits that change no result are marked as cosmetic.

`unified_diff` is home-made because `difflib` has no bound on its work. The texts come from a store, and on some of them
`difflib` alone takes hours.
"""

from collections.abc import Mapping
from difflib import Match, SequenceMatcher
from typing import get_args

from mlflow_plugin.markdown import one_line
from mlflow_plugin.reports import models
from mlflow_plugin.store.provenance import CodeFile, CodeRecord
from mlflow_plugin.store.run import PhaseRun

_ORDER = get_args(models.FileChange)
_AT_MOST_FILES = 2000
_WORK = 3_000_000
"""Lines compared for all diffs of one comparison: about a second."""


def code_changes(
    left: PhaseRun, right: PhaseRun, left_record: CodeRecord | None, right_record: CodeRecord | None
) -> models.CodeChanges:
    """Compare the code of two runs, changed files first. Without records, files are compared by the digests in tags."""
    one, other = _files(left, left_record), _files(right, right_record)
    work = Work(_WORK)
    files = [_file_diff(path, one, other, work) for path in sorted({*(one or ()), *(other or ())})[:_AT_MOST_FILES]]
    # The command in a run's tags lacks its parameters, so a recorded command is compared with a recorded one only.
    records = [left_record, right_record] if left_record and right_record else [None, None]
    commands = [_command(run, record) for run, record in zip((left, right), records, strict=True)]
    return models.CodeChanges(
        recorded=left_record is not None and right_record is not None,
        summary=_summary(files, left, right),
        command=models.CommandChange(left=commands[0], right=commands[1], same=commands[0] == commands[1]),
        files=sorted(files, key=lambda file: (_ORDER.index(file.change), file.path)),
    )


def _files(run: PhaseRun, record: CodeRecord | None) -> Mapping[str, CodeFile] | None:
    """Return the files of a run by path; None when not all names are known."""
    if record is not None and record.complete:
        return record.files
    listed = run.fingerprint.get("files")
    if not isinstance(listed, dict):
        return None
    return {name: CodeFile(digest) for name, digest in listed.items() if isinstance(digest, str)}


def _command(run: PhaseRun, record: CodeRecord | None) -> str | None:
    literal = run.fingerprint.get("command")
    return record.command if record else literal if isinstance(literal, str) else None


def _file_diff(
    path: str, left: Mapping[str, CodeFile] | None, right: Mapping[str, CodeFile] | None, work: "Work"
) -> models.FileDiff:
    one, other = (left or {}).get(path), (right or {}).get(path)
    change: models.FileChange = "unknown" if left is None or right is None else _change(one, other)
    texts = ["" if file is None else file.text for file in (one, other)]
    diff = None
    if change not in ("same", "unknown") and texts[0] is not None and texts[1] is not None:
        diff = unified_diff(path, texts[0], texts[1], work)
    missing = [file.not_kept or "it was not recorded" for file in (one, other) if file and file.text is None]
    note = f"its text is not shown: {missing[0]}" if missing and change not in ("same", "unknown") else None
    return models.FileDiff(path=path, change=change, diff=diff, note=note)


def _change(left: CodeFile | None, right: CodeFile | None) -> models.FileChange:
    if left is None or right is None:
        return "added" if left is None else "removed"
    if left.text is not None and left.text == right.text:
        return "same"
    if left.digest != right.digest:
        return "changed"
    # The digest is that of the syntax tree: another text with the same digest changes no result.
    return "same" if left.text is None or right.text is None else "cosmetic"


def _summary(files: list[models.FileDiff], left: PhaseRun, right: PhaseRun) -> str:
    counts = {change: sum(file.change == change for file in files) for change in _ORDER}
    if counts["unknown"] or not files:
        digests = [run.fingerprint.get("code") for run in (left, right)]
        if digests[0] and digests[0] == digests[1]:
            return "the code is the same"
        return "the code differs; in which files is not recorded" if all(digests) else "the code is not recorded"
    parts = [f"{_counted(counts[change])} {change}" for change in ("added", "removed", "changed") if counts[change]]
    if not parts and not counts["cosmetic"]:
        return "the code is the same"
    if cosmetic := counts["cosmetic"]:
        parts.append(f"{cosmetic} only cosmetically" if parts else f"{_counted(cosmetic)} changed only cosmetically")
    return ", ".join(parts)


def _counted(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"


# --- the diff of two texts ---


class Work:
    """Count the lines that may still be compared. When none are left, the rest of a text counts as replaced."""

    def __init__(self, lines: int) -> None:
        self.left = float(lines)


class _Matcher(SequenceMatcher[str]):
    """Bound difflib's matcher, which takes the cube of the length on texts made for that."""

    def __init__(self, left: list[str], right: list[str], work: Work) -> None:
        super().__init__(None, left, right)
        places: Mapping[str, list[int]] = self.b2j  # type: ignore[attr-defined]
        self._each = 1 + sum(len(places.get(line, ())) for line in left) / max(1, len(left))
        self._length, self._work = len(left), work

    def find_longest_match(self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None) -> Match:
        end = self._length if ahi is None else ahi
        self._work.left -= (end - alo) * self._each
        return super().find_longest_match(alo, ahi, blo, bhi) if self._work.left > 0 else Match(alo, blo, 0)


def unified_diff(path: str, left: str, right: str, work: Work, context: int = 3) -> str:
    """Return the difference of two texts in the unified format; empty when they are equal.

    Where the shortest difference would take long, a correct but longer one is returned.
    """
    if left == right:
        return ""
    one, other = _lines(left), _lines(right)
    name = one_line(path)
    diff = [f"--- {name}" if one else "--- /dev/null", f"+++ {name}" if other else "+++ /dev/null"]
    for group in _Matcher(one, other, work).get_grouped_opcodes(context):
        first, last = group[0], group[-1]
        diff.append(f"@@ -{_extent(first[1], last[2])} +{_extent(first[3], last[4])} @@")
        for kind, from_left, to_left, from_right, to_right in group:
            if kind == "equal":
                diff += [f" {line}" for line in one[from_left:to_left]]
                continue
            diff += [f"-{line}" for line in one[from_left:to_left]]
            diff += [f"+{line}" for line in other[from_right:to_right]]
    return "\n".join(diff) + "\n"


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    if lines[-1]:
        lines[-1] += "\n\\ No newline at end of file"
    else:
        lines.pop()
    return lines


def _extent(start: int, stop: int) -> str:
    length = stop - start
    if length == 1:
        return f"{start + 1}"
    return f"{start + 1 if length else start},{length}"
