"""The child in which model-written code runs: what it cannot do, and what it leaves behind, which is nothing."""

import contextlib
import dataclasses
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from projects_common.messages import show_messages
from projects_common.sandbox import children, confined
from projects_common.sandbox.confined import Limits, run
from projects_common.sandbox.python_files import python_files

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.code import code_digest
from mlflow_plugin.project.mlproject import load_project

ROOT = Path(__file__).resolve().parents[3]
SHORT = Limits(seconds=1.0, scratch=2**20)
KINDS = {
    "namespaces": confined._Confinement(),
    "Landlock": confined._Confinement(namespaces=False),
    "audit hook": confined._Confinement(kernel=False),
}
in_every_way = pytest.mark.parametrize("kind", KINDS)


def processes() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if "-P" in child.cmdline()]


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []
    assert processes() == []


FORBIDDEN = {
    "forks": "import os\nos.fork()",
    "starts a program": "import subprocess\nsubprocess.run(['true'])",
    "replaces itself": "import os, sys\nos.execv(sys.executable, ['python'])",
    "opens a socket": "import socket\nsocket.create_connection(('127.0.0.1', 9), 1)",
    "listens": "import socket\nsocket.socket().bind(('127.0.0.1', 0))",
    "reads the users": "open('/etc/passwd').read()",
    "lists the home folder": f"import os\nos.listdir({str(Path.home())!r})",
    "reads this file": f"open({__file__!r}).read()",
    "reads an installed package": f"open({pytest.__file__!r}).read()",
    "lists the installed packages": f"import os\nos.listdir({str(Path(pytest.__file__).parents[1])!r})",
    "writes elsewhere": "open('/tmp/written-by-a-model', 'w')",
    "removes a file": f"import os\nos.remove({__file__!r})",
    "signals its parent": "import os\nos.kill(os.getppid(), 0)",
    "changes rights": "import os\nos.chmod('.', 0o777)",
}


@in_every_way
@pytest.mark.parametrize("what", FORBIDDEN)
def test_what_reaches_out_is_refused(what, kind):
    result, _ = confined._run(FORBIDDEN[what], "", "", SHORT, KINDS[kind])
    assert result.status == "refused", result
    assert not Path("/tmp/written-by-a-model").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="by the Linux kernel")
def test_system_calls_past_python_are_refused_by_the_kernel():
    source = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
assert libc.ptrace(0, 0, 0, 0) == -1, "ptrace"
assert libc.prctl(1, 0, 0, 0, 0) == -1, "PR_SET_PDEATHSIG"
assert libc.socket(2, 1, 0) == -1, "socket"
assert libc.syscall(425, 1, 0) == -1, "io_uring_setup"
assert libc.syscall(435, 0, 0) == -1, "clone3"
assert libc.open(b"/etc/passwd", 0) == -1, "open"
assert libc.open(b".", 0o20200002, 0o600) == -1, "O_TMPFILE"
"""
    assert "by the kernel" in confined.strength()
    assert run(source, limits=SHORT).message == ""


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("while True: pass", "timeout"),
        ("import time\ntime.sleep(60)", "timeout"),
        ("import signal\nsignal.signal(signal.SIGXCPU, lambda *_: None)\nwhile True: pass", "timeout"),
        ("import os\nos.closerange(0, 64)\nwhile True: pass", "timeout"),
        ("x = bytearray(10**10)", "memory"),
        ("x = []\nwhile True: x.append(' ' * 10**6)", "memory"),
        ("def f(): f()\nf()", "failed"),
        ("while True: print('x' * 1000)", "failed"),
        ("import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(60,)).start()", "failed"),
        ("n = 0\nwhile True:\n    n += 1\n    open(str(n), 'w').write('x' * 10**6)", "failed"),
        ("n = 0\nwhile True:\n    n += 1\n    open(str(n), 'w').close()", "failed"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", "failed"),
        ("import ctypes\nctypes.string_at(0)", "crashed"),
        ("this is no Python", "failed"),
        ("x = '\\0'\n\0", "failed"),
    ],
)
def test_what_eats_time_memory_or_disk_is_ended(source, status):
    result = run(source, limits=dataclasses.replace(SHORT, wall_seconds=1.5) if "sleep(60)" in source else SHORT)
    assert result.status == status, result
    assert result.message


UNCOUNTED = {
    "removed but open": """
import os, time
for name in map(str, range(20)):
    stream = open(name, "wb")
    keep = [*globals().get("keep", []), stream]
    stream.write(b"x" * 900_000)
    stream.flush()
    os.unlink(name)
time.sleep(60)
""",
    "removed and closed but mapped": """
import ctypes, os, time
map_memory = ctypes.CDLL(None, use_errno=True).mmap
map_memory.restype = ctypes.c_void_p
for name in map(str, range(20)):
    with open(name, "w+b") as stream:
        stream.write(b"x" * 900_000)
        stream.flush()
        assert map_memory(None, ctypes.c_size_t(4096), 1, 1, stream.fileno(), ctypes.c_long(0)) != 2**64 - 1
    os.unlink(name)
time.sleep(60)
""",
    "replaced but open": """
import os, time
for name in map(str, range(20)):
    stream = open("new", "wb")
    keep = [*globals().get("keep", []), stream]
    stream.write(b"x" * 900_000)
    stream.flush()
    os.replace("new", "old")
time.sleep(60)
""",
}


@pytest.mark.skipif(sys.platform != "linux", reason="by the Linux kernel")
@pytest.mark.parametrize("kind", ["namespaces", "Landlock"])
@pytest.mark.parametrize("how", UNCOUNTED)
def test_the_limit_of_files_holds_for_those_that_no_folder_shows(how, kind):
    result, _ = confined._run(UNCOUNTED[how], "", "", SHORT, KINDS[kind])
    assert result.status == "failed", result
    assert "wrote more" in result.message


def test_nothing_outside_can_be_asked_about_where_there_are_namespaces():
    if not confined._confinement().namespaces:
        pytest.skip("this system lets nobody make namespaces")
    for what in ("stat", "readlink", "access"):
        source = (
            f"import os\nfound = os.{what}({__file__!r}{', os.F_OK' if what == 'access' else ''})\nassert not found"
        )
        result = run(source, limits=SHORT)
        assert result.status == ("passed" if what == "access" else "refused"), result
    assert run("import os\nassert not os.path.exists('/proc') and not os.path.exists('/etc/passwd')").status == "passed"


@pytest.mark.skipif(sys.platform != "linux", reason="by the Linux kernel")
def test_a_system_on_which_nobody_may_mount_is_used_without_namespaces(tmp_path):
    files = python_files()
    request = {
        "memory": 2**29,
        "file_bytes": 2**20,
        "cpu_seconds": 10,
        "package": "",
        "kernel": True,
        "namespaces": True,
    }
    request |= {"expected": None, "readable": files.readable, "mounted": files.mounted, "covered": files.covered}
    program = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "from projects_common.sandbox.child import confinement, namespaces\n"
        "def refuse(*_): raise PermissionError(13, 'no mounts here')\n"
        "namespaces._mount = refuse\n"
        f"print(confinement.confine({request!r}, {str(tmp_path)!r}), flush=True)\n"
        f"open('scratch', 'w').close()\n"
        f"open({__file__!r})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "Landlock" in done.stdout, done
    assert "namespaces" not in done.stdout
    assert "PermissionError" in done.stderr
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["scratch"]


def test_a_promise_that_does_not_hold_is_named(monkeypatch):
    without = confined._Confinement(namespaces=False, expected=("Landlock 4", "seccomp", "resource limits"))
    monkeypatch.setattr(confined, "_confinement", lambda: without)
    said = confined.strength()
    assert said.startswith("confined by the kernel: Landlock 4, seccomp")
    assert "without namespaces" in said
    assert "which files exist" in said


def test_a_process_that_is_confined_less_than_those_before_never_begins():
    more = confined._Confinement(expected=("another restriction",))
    with pytest.raises(PhaseError, match=r"before it had begun: .*confined by .* only, not by another restriction"):
        confined._run("x = 1", "", "", SHORT, more)


def test_right_code_passes_and_assertions_stay_active():
    assert run("def f():\n    return 2", "assert f() == 2").status == "passed"
    wrong = run("def f():\n    return 3", "x = 1\nassert f() == 2")
    assert (wrong.status, wrong.message) == ("failed", "AssertionError in the test: assert f() == 2")


@in_every_way
def test_the_standard_library_threads_and_the_scratch_folder_can_be_used(kind):
    source = """
import asyncio, bisect, collections, csv, ctypes, dataclasses, datetime, decimal, functools, hashlib, heapq, itertools
import json, math, random, re, sqlite3, statistics, string, subprocess, tempfile, threading, typing, unittest, zlib

@dataclasses.dataclass
class Point:
    x: int = 1

async def wait():
    await asyncio.sleep(0.001)
    return 7

done = []
threads = [threading.Thread(target=done.append, args=(n,)) for n in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
with open("notes.txt", "w") as stream:
    stream.write("x")
with tempfile.NamedTemporaryFile() as stream:
    stream.write(b"y")
def f():
    return Point().x, asyncio.run(wait()), sorted(done), open("notes.txt").read()
"""
    result, _ = confined._run(source, "assert f() == (1, 7, [0, 1, 2, 3], 'x')", "", Limits(), KINDS[kind])
    assert result.status == "passed", result


def test_a_thread_that_runs_on_does_not_hold_up_the_verdict():
    source = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()"
    assert run(source, "assert True", limits=SHORT).status == "passed"


def test_nothing_of_the_environment_reaches_the_code(monkeypatch):
    monkeypatch.setenv("JUDGE_API_KEY", "secret")
    known = "{'HOME', 'TMPDIR', 'LANG', 'LC_CTYPE', 'PYTHONHASHSEED'}"
    assert run(f"import os\nassert set(os.environ) <= {known}, set(os.environ)").message == ""


def test_one_program_sees_nothing_of_the_one_before():
    run("import builtins, sys\nbuiltins.seen = 1\nsys.seen = 1\nopen('a', 'w')")
    later = "import builtins, os, sys\nassert not hasattr(builtins, 'seen') and not hasattr(sys, 'seen')"
    assert run(f"{later}\nassert os.listdir('.') == []").message == ""


def test_a_sandbox_that_fails_by_itself_is_no_fault_of_the_code(monkeypatch):
    monkeypatch.setattr(confined, "_say_when_weak", lambda: None)
    monkeypatch.setattr(confined, "_confinement", confined._Confinement)
    monkeypatch.setattr(children, "_START", "raise OSError('no such thing')")
    with pytest.raises(PhaseError, match=r"ended with 1 before it had begun: .*no such thing. The graded code is not"):
        run("x = 1")


def test_a_machine_too_busy_to_begin_is_no_fault_of_the_code(monkeypatch):
    monkeypatch.setattr(children, "_START", "import time; time.sleep(60)")
    monkeypatch.setattr(confined, "_say_when_weak", lambda: None)
    monkeypatch.setattr(confined, "_confinement", confined._Confinement)
    with pytest.raises(PhaseError, match="before it had begun"):
        run("x = 1", limits=Limits(start_seconds=0.5))


def test_right_code_does_not_fail_because_the_machine_is_busy():
    limits = Limits(seconds=1.0, wall_seconds=20.0)
    assert run("import time\ntime.sleep(1.5)", limits=limits).status == "passed"
    assert run("while True: pass", limits=limits).status == "timeout"


@pytest.mark.parametrize(
    "code",
    ["object()", "__import__('os').getcwd()", "__import__('random').random()", "[*map(str, {'a', 'b', 'c'})]"],
)
def test_what_is_said_of_code_is_the_same_in_every_run(code):
    said = {run(f"raise ValueError({code})").message for _ in range(2)}
    assert len(said) == 1, said


def test_what_is_said_of_code_can_be_written_to_a_file():
    assert run("raise ValueError(chr(0xd800))").message.encode() == b"ValueError: ?"


def test_grading_is_the_same_every_time():
    ordered = "order = ''.join({'a', 'b', 'c', 'd', 'e', 'f'})"
    first = run(ordered, "assert order == ''").message
    assert run(ordered, "assert order != ''").status == "passed"
    assert run(ordered, "assert order == ''").message == first


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
@pytest.mark.parametrize("begun", [False, True], ids=["while it is confined", "when it is confined"])
def test_the_code_ends_when_the_process_that_grades_it_is_killed(tmp_path, begun):
    if begun and "seccomp" not in confined.strength():
        pytest.skip("nothing tells from outside when the code begins")
    program = (
        f"import sys, tempfile; sys.path[:0] = {sys.path!r}; tempfile.tempdir = {str(tmp_path)!r}\n"
        "from projects_common.sandbox.confined import run\n"
        "run('import time\\nwhile True: time.sleep(1)')"
    )
    grader = subprocess.Popen([sys.executable, "-c", program])
    try:
        started = wait_for(lambda: pair(grader.pid))
        if begun:  # The first pair only tries what this system offers.
            started = wait_for(lambda: pair(grader.pid, for_seconds=0.5))
        grader.send_signal(signal.SIGKILL)
        grader.wait()
        wait_for(lambda: not any(lives(child) for child in started))
    finally:
        grader.kill()


def pair(grader, for_seconds=0.0):
    """Return the solution's process and that of its tests; confined ones where they must be there for some time."""
    started = psutil.Process(grader).children(recursive=True)
    time.sleep(for_seconds)
    if len(started) < 2 or (for_seconds and not all(filters(child.pid) > filters(os.getpid()) for child in started)):
        return None
    return started


def filters(pid):
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text()
        return int(re.search(r"^Seccomp_filters:\s*(\d+)", status, re.MULTILINE)[1])
    return 0


def lives(process):
    with contextlib.suppress(psutil.NoSuchProcess):  # Its subclass says that it is a zombie.
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def wait_for(condition):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come about within 120 s")


def test_a_sandbox_without_the_kernel_says_so_loudly(monkeypatch, capsys):
    show_messages()
    weak = confined._Confinement(kernel=False, expected=("audit hook", "resource limits"))
    monkeypatch.setattr(confined, "_confinement", lambda: weak)
    confined._say_when_weak.cache_clear()
    run("x = 1")
    run("x = 1")
    confined._say_when_weak.cache_clear()
    said = capsys.readouterr().err
    assert said.count("ATTENTION") == 1
    assert "audit hook" in said
    assert "in part only" in confined.strength()


def test_the_code_of_the_confined_child_counts_as_code_of_the_phases_that_grade():
    project = ROOT / "projects/lora_retraining"
    phase = load_project(project).phases["validate"]
    files = {(project / name).resolve() for name in code_digest(project, phase.command, None).files}
    assert set(Path(confined.__file__).parent.glob("child/*.py")) <= files
