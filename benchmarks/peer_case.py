"""One change row on one tool: lay the project, run it, make the change, ask again, and judge the answer."""

import base64
import gzip
import http.server
import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from benchmarks.change_rows import row as rows
from benchmarks.change_rows.row import Row
from benchmarks.peer_projects import Case, PeerTool
from benchmarks.peer_tools import ENVIRONMENTS, QUIET, programs

Word = Literal["right", "wasteful", "silently wrong", "asks", "stops", "cannot", "not measured"]
ENOUGH_SECONDS = 600
READERS = ("pandas", "pyarrow", "polars", "duckdb", "h5py", "safetensors", "torch", "PyYAML", "Jinja2")


@dataclass(frozen=True)
class Outcome:
    """The answer of a tool, and why it is judged so."""

    word: Word
    remark: str = ""


@dataclass(frozen=True)
class Reply:
    """The end of a command."""

    code: int
    text: str
    executed: list[str]


def unmeasurable(tool: PeerTool, row: Row) -> Outcome | None:
    """The outcome of a row that the tool cannot express, or that cannot be measured here."""
    if row.only and tool.name not in row.only:
        return Outcome("cannot", row.why_only)
    if row.other_reader and not tool.watches:
        return Outcome("not measured", "as the first reader: it looks at the declared file, whatever reads it")
    row = row.instead.get(tool.name, row)
    if reason := tool.unable(row):
        return Outcome("cannot", reason)
    if missing := [name for name in row.requires if not find_spec(name.split(".")[0])]:
        return Outcome("not measured", f"needs {', '.join(missing)}")
    return None


def outcome(tool: PeerTool, row: Row, home: Path, told: bool = False) -> Outcome:
    """Measure a row on a tool in a new folder, which is removed if all went well."""
    row = row.instead.get(tool.name, row)
    with ExitStack() as stack:
        case = Case(row, home, told)
        case.values = {name: parameter.value for name, parameter in row.parameters.items()}
        web = stack.enter_context(Web())
        case.address = web.address
        found = measured(tool, case, web)
    if not os.environ.get("KEEP_ROWS"):
        shutil.rmtree(home, ignore_errors=True)
    return found


def measured(tool: PeerTool, case: Case, web: "Web") -> Outcome:
    lay(tool, case)
    if case.row.threads:
        return judged_threads(tool, case)
    first = ask(tool, case, "")
    expected = {phase.name for phase in case.row.phases}
    if not case.row.fails and (first.code or {line.split()[0] for line in first.executed} != expected):
        return Outcome(
            "not measured", f"the first run ended {first.code} and executed {first.executed}: {first.text[-600:]}"
        )
    for edit in case.row.change:
        make(edit, tool, case, web)
    reply = ask(tool, case, case.row.ask)
    return judged(tool, case, reply)


def judged(tool: PeerTool, case: Case, reply: Reply) -> Outcome:
    """Compare an answer with the one that is right."""
    row, says = case.row, case.fill(case.row.says)
    last = [line for line in reply.executed if line.split()[0] == row.last.name]
    remark = f"executed {', '.join(reply.executed) or 'nothing'}, ended {reply.code}"
    asked = reply.code == 3 and tool.name == "mlflow-phases"
    if asked:
        return Outcome("right" if row.must in ("run or ask", "mention") else "asks", f"{remark} {reply.text[-400:]}")
    if last and row.expect not in last[-1]:
        return Outcome("silently wrong", f"computed on something else: {last[-1]}")
    if last:
        moved = says and says in reply.text
        return Outcome("wasteful" if row.must == "reuse" and not moved else "right", remark)
    if reply.code:
        refused = row.must == "run or ask" and row.expect
        return Outcome("right" if refused else "stops", f"{remark}: {reply.text[-400:]}")
    forgotten = [edit.phase for edit in row.change if isinstance(edit, rows.Forget)]
    if forgotten and all(tool.stored(case, phase).exists() for phase in forgotten):
        return Outcome("right", f"{remark}, and put the output back")
    if row.must == "reuse" or (row.must == "mention" and says in reply.text):
        return Outcome("right", remark)
    return Outcome("silently wrong", remark)


def judged_threads(tool: PeerTool, case: Case) -> Outcome:
    case.write("threads.py", tool.threads(case))
    reply = call(tool, case, "python threads.py")
    if sorted(reply.executed) == ["train 1", "train 2"] and not reply.code:
        return Outcome("right")
    left = "left in the environment" in reply.text
    word: Word = "silently wrong" if left or (reply.executed and not reply.code) else "stops"
    return Outcome(word, f"executed {reply.executed}, ended {reply.code}: {reply.text[-400:]}")


def lay(tool: PeerTool, case: Case) -> None:
    """Write the project, what lies outside it, and an environment of its own if it needs one."""
    for folder in (case.project, case.home / "outside"):
        folder.mkdir(parents=True)
    case.variables = environment(tool, case)
    if case.row.own_environment:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(case.home / "env")], check=True)
        below = f"import site; site.addsitedir({str(packages(programs(tool.name)))!r})\n"
        (case.site / "tool.pth").write_text(below)
    for name, text in case.row.files.items():
        case.write(name, text)
        if text.startswith("#!"):
            case.path(name).chmod(0o755)
    if case.row.makes:
        make(rows.Make("1"), tool, case, None)
    tool.lay(case)
    long_ago = time.time() - 100
    for path in case.home.rglob("*"):
        if path.is_file() and not path.is_symlink() and ".git" not in path.parts:
            os.utime(path, (long_ago, long_ago))


def packages(bin_folder: Path) -> Path:
    return next((bin_folder.parent / "lib").glob("python*/site-packages"))


def environment(tool: PeerTool, case: Case) -> dict[str, str]:
    """The variables of a tool's commands."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTHON", "PHASE_"))}
    path = [str(programs(tool.name)), kept["PATH"]]
    if case.row.own_environment:
        path.insert(0, str(case.home / "env" / "bin"))
    own = {"PATH": ":".join(path), "MLFLOW_DISABLE_TELEMETRY": "true", "NO_COLOR": "1"}
    variables = {name: case.fill(value) for name, value in case.row.variables.items()}
    return {**kept, **QUIET, **own, **tool.variables(case), **variables}


def ask(tool: PeerTool, case: Case, phase: str) -> Reply:
    reply = call(tool, case, tool.ask(case, phase))
    case.given = {}
    return reply


def call(tool: PeerTool, case: Case, command: str) -> Reply:
    """Run a command of the tool in the project, and read the witness."""
    words = shlex.split(command)
    program = programs(tool.name) / words[0]
    if case.row.own_environment and words[0] != "python" and program.exists():
        words = [str(case.home / "env" / "bin" / "python"), str(program), *words[1:]]
    case.witness.unlink(missing_ok=True)
    try:
        done = subprocess.run(
            words,
            cwd=case.project,
            env=case.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=ENOUGH_SECONDS,
            check=False,
        )
        code, text = done.returncode, done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired:
        code, text = 124, f"not done after {ENOUGH_SECONDS} s"
    seen = case.witness.read_text().splitlines() if case.witness.exists() else []
    (case.home / "output.txt").open("a").write(f"$ {command}\n{text}\nended {code}, executed {seen}\n")
    if tool.outage and tool.outage in text:
        raise RuntimeError(tool.outage)
    return Reply(code, text, seen)


def make(edit: rows.Edit, tool: PeerTool, case: Case, web: "Web | None") -> None:
    """Make one change: to files, or to everything else."""
    match edit:
        case rows.Write(name, text):
            case.write(name, text)
        case rows.Replace(name, old, new):
            own = name in {phase.script for phase in case.row.phases}
            path = case.path(tool.source if own and tool.source else name)
            if old not in path.read_text():
                raise ValueError(f"{path} does not contain {old!r}")
            path.write_text(path.read_text().replace(old, new))
        case rows.Remove(name):
            case.path(name).unlink()
        case rows.Move(name, to):
            case.path(to).parent.mkdir(parents=True, exist_ok=True)
            case.path(name).rename(case.path(to))
        case rows.Damage(phase, old, new):
            damage(tool.stored(case, phase), old.encode(), new.encode())
        case rows.Forget(phase):
            tool.stored(case, phase).unlink()
        case _:
            make_other(edit, tool, case, web)


def make_other(edit: rows.Edit, tool: PeerTool, case: Case, web: "Web | None") -> None:
    match edit:
        case rows.Make(argument):
            words = [sys.executable, "-c", case.row.makes, argument]
            subprocess.run(words, cwd=case.project, env=case.variables, check=True, capture_output=True)
        case rows.Value(name, value):
            case.values[name] = case.given[name] = value
        case rows.Variable(name, value):
            case.variables[name] = case.fill(value)
        case rows.Serve(text) if web:
            web.text = text
        case rows.Ask(phase):
            ask(tool, case, phase)
        case rows.Checkout():
            shutil.copytree(case.project, case.home / "elsewhere", symlinks=True)
            case.folder = "elsewhere"
        case rows.Declare(fields):
            case.row = case.row.declared(fields)
            case.values = {name: case.values.get(name, each.value) for name, each in case.row.parameters.items()}
            tool.lay(case)


def damage(path: Path, old: bytes, new: bytes) -> None:
    """Change bytes inside a file, which may be compressed or hold base64."""
    path.chmod(0o644)
    data = path.read_bytes()
    if old in data:
        path.write_bytes(data.replace(old, new))
    elif data[:2] == b"\x1f\x8b":
        path.write_bytes(gzip.compress(gzip.decompress(data).replace(old, new)))
    else:
        within = re.search(rb'"result":\s*"([A-Za-z0-9+/=\\n]+)"', data)
        if not within:
            raise ValueError(f"{path} does not contain {old!r}")
        plain = base64.b64decode(within[1].replace(b"\\n", b""))
        if old not in plain:
            raise ValueError(f"{path} does not contain {old!r}")
        path.write_bytes(data.replace(within[1], base64.b64encode(plain.replace(old, new))))


class Web:
    """A web server on this machine alone, whose answer can be changed."""

    def __init__(self) -> None:
        self.text = "one"
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(outer.text.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/rate"

    def __enter__(self) -> "Web":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def lend_readers(tool: PeerTool) -> None:
    """Let a tool's environment find the libraries of this one that the rows read with, after its own packages."""
    links = ENVIRONMENTS / "readers"
    links.mkdir(parents=True, exist_ok=True)
    for top in sorted(set(top_levels(READERS))):
        link = links / top.name
        if not link.exists():
            link.unlink(missing_ok=True)
            link.symlink_to(top)
    bin_folder = programs(tool.name)
    if bin_folder != Path(sys.executable).parent:
        (packages(bin_folder) / "readers.pth").write_text(f"{links}\n")


def top_levels(names: Iterable[str]) -> Iterable[Path]:
    """The files and folders of installed distributions and of all that they require."""
    seen, waiting = set(), list(names)
    while waiting:
        name = waiting.pop()
        if name.lower() in seen:
            continue
        seen.add(name.lower())
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        for file in found.files or ():
            if not file.parts[0].startswith(".."):
                yield Path(found.locate_file(file.parts[0]))
        waiting += [re.split(r"[^\w.-]", text)[0] for text in found.requires or () if "extra ==" not in text]
