"""Make the changes of `benchmarks.change_rows` on other tools and on the plugin, and count who re-runs what it must.

python -m benchmarks.peer_rows [--tools dvc,redun] [--rows 1,2] [--jobs 2] [--keep FILE] [--write]

Prints Markdown. Each tool is installed into an environment of its own below `.cache/peers`.
"""

import argparse
import contextlib
import hashlib
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

from benchmarks.change_rows import ROWS, Row
from benchmarks.peer_case import Outcome, lend_readers, outcome, unmeasurable
from benchmarks.peer_projects import TOOLS, PeerTool
from benchmarks.peer_tools import REQUIREMENTS, prefect_server, programs
from benchmarks.timing import heading, row

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
MARKS = "<!-- bench-peers -->", "<!-- end of bench-peers -->"
NOTES = """
Every tool has the project of its own manual, with its cache switched on. Where the manual has a place for it, that
project declares the data that the row reads and the code that the command names. Nobody declares what lies deeper:
settings, templates, helper modules, optional files, variables. The caches of Prefect and Metaflow look at no files, so
nothing is declared there; Hamilton's manual loads data in a node that is always computed. With Metaflow a finished flow
is asked for again by `resume`, which reuses every finished step, and with a new value by `run`, which reuses none.
Row 20 (the image of a container) needs a Docker daemon and is left out.

- *right*: executed where it must and not where it need not; or asked or refused, where that is right.
- *wasteful*: executed, though the old result was right.
- *silently wrong*: handed out a result that the change had made wrong, or computed on the wrong input, without a word.
- *asks*: asked, though the right answer was known. *stops*: ended with an error.
- *cannot*: the row cannot be expressed. *not measured*: see the reasons below.
"""


@dataclass(frozen=True)
class Cell:
    """The outcomes of a row on a tool: as its manual would have it, and told of everything, where that was measured."""

    outcome: Outcome
    told: Outcome | None = None


def definition(tool: PeerTool, row: Row) -> str:
    """A digest of the row and of the tool's version."""
    given = {each.name: getattr(row, each.name) for each in fields(row)}
    said = repr(({name: value for name, value in given.items() if value}, REQUIREMENTS.get(tool.name)))
    return hashlib.sha256(said.encode()).hexdigest()[:12]


class Kept:
    """Outcomes in a file, so that a later call measures only what is missing from it, or nothing if it is `closed`."""

    def __init__(self, path: Path | None, closed: bool = False) -> None:
        self.path = path
        self.closed = closed
        self.lock = threading.Lock()
        self.found: dict[str, dict[str, str]] = json.loads(path.read_text()) if path and path.exists() else {}

    @staticmethod
    def key(tool: PeerTool, row: Row, told: bool) -> str:
        return f"{tool.name} | {row.key} | {'told' if told else ''} | {definition(tool, row)}"

    def holds(self, tool: PeerTool, row: Row, told: bool) -> bool:
        return self.key(tool, row, told) in self.found

    def outcome(self, tool: PeerTool, row: Row, told: bool, home: Path) -> Outcome:
        key = self.key(tool, row, told)
        if known := unmeasurable(tool, row):
            return known
        if key in self.found:
            return Outcome(**self.found[key])
        if self.closed:
            return Outcome("not measured", "left out of this run")
        began = time.monotonic()
        try:
            found = outcome(tool, row, home, told)
        except Exception as error:
            found = Outcome("not measured", f"{type(error).__name__}: {error}")
        with self.lock:
            if self.path and found.word != "not measured":
                self.found[key] = asdict(found)
                self.path.write_text(json.dumps(self.found, indent=1))
        seconds = time.monotonic() - began
        print(f"{key.rsplit(' | ', 1)[0]}: {found.word} ({found.remark}) {seconds:.0f} s", file=sys.stderr, flush=True)
        return found


def first_tellable(tool: PeerTool, row: Row) -> Row | None:
    """The row with which a project that tells the tool more is measured: one for each thing to tell."""
    alike = (each for each in ROWS if tool.needed(each) == tool.needed(row))
    return next((each for each in alike if tool.tellable(each)), None)


def first_variants(rows: Sequence[Row]) -> list[int]:
    """The places of the rows, the first of each number before any second, so that an early end leaves no number out."""
    seen: Counter[str] = Counter()
    order = []
    for place, each in enumerate(rows):
        order.append((seen[each.number], place))
        seen[each.number] += 1
    return [place for _, place in sorted(order)]


def cell(tool: PeerTool, kept: Kept, row: Row, home: Path) -> Cell:
    found = kept.outcome(tool, row, False, home / "manual")
    tells = row is first_tellable(tool, row) or kept.holds(tool, row, True)
    if found.word == "silently wrong" and tells:
        return Cell(found, kept.outcome(tool, row, True, home / "told"))
    return Cell(found)


def measure(tools: Sequence[PeerTool], rows: Sequence[Row], jobs: int, kept: Kept) -> dict[str, list[Cell]]:
    """All rows on all tools. A tool that cannot be installed is left out, and the others go on."""
    found: dict[str, list[Cell]] = {}
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        folder = Path(temporary).resolve()
        for tool in tools:
            try:
                programs(tool.name)
                lend_readers(tool)
                if tool.name == "prefect":
                    stack.enter_context(prefect_server(folder / "server"))
            except Exception as error:
                print(f"{tool.name} is left out: {error}", file=sys.stderr, flush=True)
                continue
            order = first_variants(rows)
            homes = [folder / tool.name / str(place) for place in order]
            with ThreadPoolExecutor(jobs) as pool:
                cells = pool.map(partial(cell, tool, kept), [rows[place] for place in order], homes)
                by_place = dict(zip(order, cells, strict=True))
            found[tool.name] = [by_place[place] for place in range(len(rows))]
            print(f"{tool.name}: {dict(Counter(each.outcome.word for each in found[tool.name]))}", file=sys.stderr)
    return found


def summary(found: dict[str, list[Cell]]) -> str:
    lines = [heading("tool", "right", "silently wrong", "wasteful", "asks or stops", "cannot", "right when told")]
    for name, cells in found.items():
        words = Counter(each.outcome.word for each in cells)
        measured = len(cells) - words["cannot"] - words["not measured"]
        told = [each.told for each in cells if each.told]
        lines.append(
            row(
                *(name, f"{words['right']} of {measured}", words["silently wrong"], words["wasteful"]),
                *(words["asks"] + words["stops"], words["cannot"]),
                f"{sum(each.word == 'right' for each in told)} of {len(told)} told" if told else "",
            )
        )
    return "\n".join(lines)


def table(rows: Sequence[Row], found: dict[str, list[Cell]]) -> str:
    lines = [heading("#", "the phase's project, and the change", "must", *found)]
    for index, each in enumerate(rows):
        words = [found[name][index].outcome.word for name in found]
        shown = [f"**{word}**" if word == "silently wrong" else word for word in words]
        lines.append(row(each.number, each.title.replace("|", "\\|"), each.must, *shown))
    return "\n".join(lines)


def told(tools: Sequence[PeerTool], rows: Sequence[Row], found: dict[str, list[Cell]]) -> str:
    """List for each tool what it would have had to be told, and whether the rows were right then."""
    lines = [heading("tool", "would have had to be told", "of rows", "then right")]
    for tool in tools:
        groups: dict[str, list[tuple[str, Cell]]] = {}
        for each, its in zip(rows, found.get(tool.name, ()), strict=False):
            if its.outcome.word == "silently wrong":
                needed = "" if each.fails else tool.needed(each)
                groups.setdefault(needed or "nothing that its manual offers", []).append((each.number, its))
        for text, members in groups.items():
            numbers = ", ".join(dict.fromkeys(number for number, _ in members))
            measured = [its.told for _, its in members if its.told]
            right = f"{sum(each.word == 'right' for each in measured)} of {len(measured)}" if measured else ""
            lines.append(row(tool.name, text, numbers, right))
    return "\n".join(lines)


def reasons(rows: Sequence[Row], found: dict[str, list[Cell]]) -> str:
    """Why a row could not be expressed or was not measured, the tools with the same reason together."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, cells in found.items():
        for each, its in zip(rows, cells, strict=True):
            if its.outcome.word in ("cannot", "not measured"):
                groups.setdefault((each.number, " ".join(its.outcome.remark.split())[:200]), []).append(name)
    return "\n".join(f"- {number}, {', '.join(dict.fromkeys(names))}: {why}" for (number, why), names in groups.items())


def report(tools: Sequence[PeerTool], rows: Sequence[Row], found: dict[str, list[Cell]]) -> str:
    return "\n".join(
        (
            f"{len(rows)} changes, of {len({each.number for each in rows})} kinds:\n\n{summary(found)}\n{NOTES}",
            f"{table(rows, found)}\n\nWhere a tool was silently wrong:\n\n{told(tools, rows, found)}\n",
            f"Not expressed or not measured:\n\n{reasons(rows, found)}",
        )
    )


def written_between_marks(text: str, page: Path) -> None:
    """Put the report into a page, in place of the last one."""
    before, _, rest = page.read_text().partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not end:
        raise ValueError(f"{page} has no lines {MARKS[0]} and {MARKS[1]} to write between")
    page.write_text(f"{before}{MARKS[0]}\n\n{text}\n\n{MARKS[1]}{after}")


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--tools", default=",".join(tool.name for tool in TOOLS), help="the tools, with commas between")
    ask.add_argument("--rows", default="", help="the rows' numbers, with commas between; all of them by default")
    ask.add_argument("--jobs", type=int, default=1, help="rows that are measured at once")
    ask.add_argument("--keep", type=Path, help="a file with outcomes: those in it are not measured again")
    ask.add_argument("--kept-only", action="store_true", help="measure nothing: print what that file holds")
    ask.add_argument("--write", action="store_true", help="put the tables into docs/performance.md as well")
    options = ask.parse_args()
    names, numbers = options.tools.split(","), [number for number in options.rows.split(",") if number]
    known = {tool.name for tool in TOOLS}, {each.number for each in ROWS}
    if unknown := [name for name in names if name not in known[0]] + [n for n in numbers if n not in known[1]]:
        ask.error(f"unknown: {', '.join(unknown)}. Tools: {', '.join(sorted(known[0]))}.")
    tools = [tool for tool in TOOLS if tool.name in names]
    rows = [each for each in ROWS if not numbers or each.number in numbers]
    began = time.monotonic()
    found = measure(tools, rows, options.jobs, Kept(options.keep, options.kept_only))
    page = report(tools, rows, found)
    print(page)
    if options.write:
        written_between_marks(page, PAGE)
    print(f"took {(time.monotonic() - began) / 60:.0f} minutes", file=sys.stderr)


if __name__ == "__main__":
    main()
