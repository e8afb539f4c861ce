"""Seven changes to a finished pipeline: does a tool then compute what they affect, and nothing else?"""

import os
import sys
from pathlib import Path

from benchmarks.peer_tools import Tool, execute, executed, finished_pipeline

FROM_SCALE = ["scale", "total", "report"]
CHANGES = {
    "comment": ([], "total 15"),
    "code": (FROM_SCALE, "total 31"),
    "imported helper": (FROM_SCALE, "total 42"),
    "parameter": (FROM_SCALE, "total 21"),
    "touch": ([], "total 15"),
    "output deleted": (["scale"], "total 15"),
    "upstream forced": (["draw"], "total 15"),
}
"""The phases that have to execute after each change, and the report that is right then."""


def right_changes(tool: Tool, folder: Path) -> list[str]:
    """The changes after which a tool did the right thing, each tried on a newly finished pipeline."""
    right = []
    for change in CHANGES:
        home = folder / change.replace(" ", "_")
        finished_pipeline(tool, home)
        verdict = judged(tool, home, change)
        print(f"{tool.name}, {change}: {verdict}", file=sys.stderr, flush=True)
        if verdict.startswith("right"):
            right.append(change)
    return right


def judged(tool: Tool, home: Path, change: str) -> str:
    """Makes a change, brings the pipeline up to date, and says in words what became of it."""
    needed, report = CHANGES[change]
    scaled = tool.scaled(home)
    words, asked, failure = make(change, tool, home), "", ""
    try:
        execute(tool, home, words)
    except RuntimeError as error:
        failure = str(error)
        if tool.consent and "ended 3:" in failure:
            # Whoever makes such a change means it: the question counts as answered with yes.
            asked, failure = ", after a question", ""
            execute(tool, home, words + tool.consent)
    phases, found = executed(home), tool.report(home)
    described = f"executed {', '.join(phases) or 'nothing'}{asked}"
    if failure or not found.exists() or found.read_text() != report:
        return f"WRONG RESULT, {described} {failure[-300:]}"
    if change == "output deleted" and not (phases == needed or (not phases and scaled.exists())):
        return f"not right, {described}; the output is {'back' if scaled.exists() else 'still missing'}"
    if change != "output deleted" and phases != needed:
        return f"not right, {described}"
    return f"right, {described}"


def make(change: str, tool: Tool, home: Path) -> str:
    """Makes a change; returns the command that brings the pipeline up to date after it."""
    source, parameters = home / tool.source, home / "params.yaml"
    if change == "comment":
        replace(source, "# First draft.", "# Second draft, of which more could be said.")
    elif change == "code":
        replace(source, "* number)", "* number * number)")
    elif change == "imported helper":
        replace(home / "shift.py", "value + 1", "value + 10")
    elif change == "parameter":
        if parameters.exists():
            replace(parameters, "2", "3")
        return (tool.first or tool.finish).format(factor=3)
    elif change == "touch":
        os.utime(source)
    elif change == "output deleted":
        tool.scaled(home).unlink()
    elif change == "upstream forced":
        execute(tool, home, tool.force.format(factor=2))
    return tool.finish.format(factor=2)


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    if old not in text:
        raise ValueError(f"{path} does not contain {old!r}")
    path.write_text(text.replace(old, new))
