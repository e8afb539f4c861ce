"""What one observed Python process tells, with the shim, by the kernel's notification and by the hook alone."""

import ctypes
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from mlflow_plugin.observation import recorder
from mlflow_plugin.observation.coverage import ISOLATED
from mlflow_plugin.observation.notification import unavailable
from mlflow_plugin.observation.recorder import Recorder
from mlflow_plugin.observation.recording import Recording
from mlflow_plugin.observation.shim import Shim, shim

NO_SHIM = "from mlflow_plugin.observation.shim import Shim\nrecorder.shim = lambda: Shim(None, 'no compiler')\n"
NO_KERNEL = "recorder.unavailable = lambda: 'no kernel'\n"
WAYS = ["shim", "notification", "hook"]


class Observed:
    """A project folder whose scripts are observed in one way."""

    def __init__(self, way: str, project: Path, records: Path) -> None:
        self.way, self.project, self.records = way, project, records

    def __call__(self, script: str, *, command: list[str] | None = None, **variables: str) -> Recording:
        """Run a script, or a command, and return what was seen of it."""
        (self.project / "main.py").write_text(script)
        watching = Recorder(self.records, own=[str(self.project)], skip=[str(self.project / "skipped")])
        environment = {**os.environ, **variables}
        environment.update(watching.variables(environment))
        done = subprocess.run(
            command or [sys.executable, "main.py"], cwd=self.project, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert not done.stderr
        return watching.recording()

    def path(self, name: str) -> str:
        """Return the path of a file of the project."""
        return str(self.project / name)


@pytest.fixture(params=WAYS)
def observed(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Observed:
    if request.param == "shim" and shim().path is None:
        pytest.skip(f"no shim here: {shim().reason}")
    if request.param == "notification" and unavailable():
        pytest.skip(unavailable())
    if request.param != "shim":
        monkeypatch.setattr(recorder, "shim", lambda: Shim(None, "no compiler"))
    if request.param == "hook":
        monkeypatch.setattr(recorder, "unavailable", lambda: "no kernel")
    (tmp_path / "project").mkdir()
    (tmp_path / "records").mkdir()
    return Observed(request.param, tmp_path / "project", tmp_path / "records")


def test_a_file_that_is_read_is_seen_with_its_state(observed: Observed) -> None:
    (observed.project / "rows.csv").write_text("1,2\n")
    seen = observed("open('rows.csv').read()")
    state = (observed.project / "rows.csv").stat()
    assert seen.read[observed.path("rows.csv")][:4] == (4, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)


def test_a_file_that_the_process_wrote_before_it_read_it_is_no_input(observed: Observed) -> None:
    seen = observed("open('out', 'w').write('1'); open('out').read()")
    assert observed.path("out") not in seen.read
    assert observed.path("out") in seen.written


def test_a_file_in_a_folder_that_the_process_made_is_no_input(observed: Observed) -> None:
    seen = observed("import os; os.mkdir('new'); os.system('echo 1 > new/a'); open('new/a').read(); os.listdir('new')")
    assert observed.path("new/a") not in seen.read
    assert observed.path("new") not in seen.listed


def test_a_file_that_is_appended_to_without_being_read_is_only_written(observed: Observed) -> None:
    (observed.project / "log").write_text("before\n")
    seen = observed("open('log', 'a').write('after')")
    assert observed.path("log") not in seen.read
    assert observed.path("log") in seen.written


@pytest.mark.parametrize(
    "touch",
    ["open('rows', 'a').close()", "os.close(os.open('rows', os.O_WRONLY))", "os.truncate('rows', 3)"],
    ids=["append", "not-truncated", "shortened"],
)
def test_a_file_that_was_there_is_an_input_though_the_process_opened_it_for_writing_first(
    observed: Observed, touch: str
) -> None:
    (observed.project / "rows").write_text("1,2\n")
    before = (observed.project / "rows").stat()
    seen = observed(f"import os; {touch}; open('rows').read()")
    assert seen.read[observed.path("rows")][:4] == (4, before.st_mtime_ns, before.st_ctime_ns, before.st_ino)
    assert observed.path("rows") in seen.written


def test_a_file_that_was_missed_then_made_and_read_is_told_apart(observed: Observed) -> None:
    seen = observed(
        "import os\n"
        "if not os.path.exists('cache'): open('cache', 'w').write('1')\n"
        "if not os.path.isdir('set'): os.mkdir('set')\n"
        "open('set/a', 'w').write('1'); open('out', 'w').write('1')\n"
        "open('cache').read(); open('set/a').read(); open('out').read()"
    )
    assert seen.filled == {observed.path("cache"), observed.path("set/a")}
    assert not seen.absent


@pytest.mark.parametrize(
    ("script", "writes"),
    [
        ("open('rows', 'r+').read()", False),
        ("f = open('rows', 'r+'); f.read(); f.write('3')", True),
        ("f = open('rows', 'r+'); subprocess.run(['echo', '3'], stdout=f)", True),
        ("f = open('rows', 'r+'); m = mmap.mmap(f.fileno(), 0); f.close(); m[0] = 51; m.flush()", True),
        ("os.open('rows', os.O_RDWR); os.truncate('rows', 1); os._exit(0)", True),
        ("sqlite3.connect('rows.db').execute('select * from rows')", False),
        ("with sqlite3.connect('rows.db') as db: db.execute('insert into rows values (2)')", True),
    ],
)
def test_a_file_that_is_open_for_reading_and_writing_is_written_once_the_process_changes_it(
    observed: Observed, script: str, writes: bool
) -> None:
    if observed.way != "shim":
        pytest.skip("only the shim sees a file when it is closed")
    (observed.project / "rows").write_text("1,2\n")
    with sqlite3.connect(observed.project / "rows.db") as database:
        database.execute("create table rows (a)")
    database.close()
    for name in ("rows", "rows.db"):
        os.utime(observed.project / name, (1, 1))
    seen = observed(f"import mmap, os, sqlite3, subprocess\n{script}")
    name = observed.path("rows.db" if "sqlite3" in script else "rows")
    assert name in seen.read
    assert (name in seen.written) is writes


@pytest.mark.parametrize("held", [True, False])
def test_a_database_that_another_program_changes_meanwhile_is_not_written_by_the_process(
    observed: Observed, held: bool
) -> None:
    if observed.way != "shim":
        pytest.skip("only the shim sees a file when it is closed")
    path, go, done = (observed.project / name for name in ("rows.db", "go", "done"))

    def change() -> None:
        while not go.exists():
            time.sleep(0.01)
        with sqlite3.connect(path) as database:
            database.execute("insert into rows values (1)")
        done.touch()

    with sqlite3.connect(path) as database:
        database.execute("create table rows (a)")
    database.close()
    other = threading.Thread(target=change, daemon=True)
    other.start()
    seen = observed(
        "import os, sqlite3, time\n"
        "db = sqlite3.connect('rows.db')\ndb.execute('select * from rows').fetchall()\n"
        f"{'' if held else 'db.close()'}\nopen('go', 'w').close()\n"
        "while not os.path.exists('done'): time.sleep(0.01)"
    )
    other.join()
    assert observed.path("rows.db") in seen.read
    assert observed.path("rows.db") not in seen.written


@pytest.mark.parametrize("by", ["os.listdir('data/train')", "os.system('find data/train > /dev/null')"])
def test_a_listing_through_a_link_has_the_name_that_was_asked_for(observed: Observed, by: str) -> None:
    if observed.way == "hook" and "system" in by:
        pytest.skip("the hook does not see what programs list")
    (observed.project / "v1" / "train").mkdir(parents=True)
    (observed.project / "data").symlink_to("v1")
    seen = observed(f"import os; {by}")
    assert observed.path("data/train") in seen.listed


@pytest.mark.parametrize(
    "script",
    ["open('now/../rows').read()", "os.chdir('now'); open('../rows').read()", "os.system('cd now; cat ../rows')"],
)
def test_a_link_behind_which_a_path_goes_on_is_seen(observed: Observed, script: str) -> None:
    if observed.way == "hook" and "system" in script:
        pytest.skip("the hook does not see what programs read")
    (observed.project / "v1" / "x").mkdir(parents=True)
    (observed.project / "v1" / "rows").write_text("1")
    (observed.project / "now").symlink_to("v1/x")
    seen = observed(f"import os; {script}")
    assert seen.links == {observed.path("now"): "v1/x"}
    assert observed.path("v1/rows") in seen.read


def test_what_lay_in_a_folder_that_the_process_moves_keeps_its_name(observed: Observed) -> None:
    (observed.project / "inbox").mkdir()
    (observed.project / "inbox" / "a").write_text("1")
    seen = observed("import os; os.rename('inbox', 'work'); open('work/a').read(); os.listdir('work')")
    assert observed.path("inbox/a") in seen.read
    assert observed.path("inbox") in seen.listed
    assert seen.moved == {observed.path("inbox"): observed.path("work")}
    assert observed.path("work") in seen.folders


def test_a_file_that_the_process_removes_is_told_as_removed(observed: Observed) -> None:
    (observed.project / "queue").write_text("1")
    seen = observed("import os; open('queue').read(); os.unlink('queue')")
    assert observed.path("queue") in seen.read
    assert seen.removed == {observed.path("queue")}


def test_the_log_of_a_database_counts_before_there_is_one(observed: Observed) -> None:
    with sqlite3.connect(observed.project / "rows.db") as database:
        database.execute("pragma journal_mode=wal")
        database.execute("create table rows (a)")
    database.close()
    seen = observed("import sqlite3; sqlite3.connect('rows.db').execute('select * from rows').fetchall()")
    assert observed.path("rows.db-wal") in seen.filled | seen.absent


def test_what_is_looked_for_and_not_found_is_seen(observed: Observed) -> None:
    seen = observed(
        "import os, pathlib\n"
        "assert not os.path.exists('a.yaml') and not pathlib.Path('b.yaml').exists() and not os.access('c.yaml', 4)\n"
        "try:\n    open('d.yaml')\nexcept OSError: pass"
    )
    assert seen.absent == {observed.path(f"{name}.yaml") for name in "abcd"}


def test_a_file_that_was_missed_and_then_made_is_not_missed(observed: Observed) -> None:
    seen = observed("import os\nif not os.path.exists('cache'): open('cache', 'w').write('1')")
    assert not seen.absent


def test_a_listing_counts_unless_the_import_system_makes_it(observed: Observed) -> None:
    (observed.project / "data").mkdir()
    (observed.project / "package").mkdir()
    (observed.project / "package" / "part.py").write_text("")
    seen = observed("import glob, package.part; glob.glob('data/*')")
    assert set(seen.listed) == {observed.path("data")}


def test_modules_are_seen_by_their_source_even_where_bytecode_is_loaded(observed: Observed) -> None:
    (observed.project / "helper.py").write_text("")
    observed("import helper")
    seen = observed("import helper  # again, from bytecode")
    assert observed.path("helper.py") in seen.modules
    assert observed.path("helper.py") in seen.read
    assert not [path for path in seen.read if path.endswith(".pyc")]


def test_a_python_file_that_is_read_as_text_is_told_apart_from_an_imported_one(observed: Observed) -> None:
    (observed.project / "settings.py").write_text("X = 1")
    (observed.project / "helper.py").write_text("")
    seen = observed("import helper; exec(open('settings.py').read())")
    assert seen.text == {observed.path("settings.py")}


def test_variables_that_the_projects_code_reads_are_seen_without_their_values(observed: Observed) -> None:
    seen = observed(
        "import os; os.environ['LR']; os.environ.get('SEED'); os.getenv('API_KEY'); 'DEPTH' in os.environ\n"
        "dict(os.environ), {**os.environ}, os.environ.copy(), list(os.environ.items())",
        LR="0.1",
        API_KEY="hunter2",
        UNREAD="1",
        DEPTH="3",
    )
    assert set(seen.variables) == {"LR", "SEED", "API_KEY", "DEPTH"}
    assert seen.variables["SEED"] == ""
    assert seen.variables["API_KEY"] is None
    assert len(seen.variables["LR"] or "") == 64
    assert not [file for file in observed.records.iterdir() if b"hunter2" in file.read_bytes()]


def test_what_a_skipped_folder_holds_is_not_seen(observed: Observed) -> None:
    (observed.project / "skipped").mkdir()
    (observed.project / "skipped" / "store.db").write_text("1")
    assert observed.path("skipped/store.db") not in observed("open('skipped/store.db').read()").read


def test_names_that_are_no_text_or_hold_a_line_end_are_seen(observed: Observed) -> None:
    name = os.fsdecode(b"caf\xe9\nrows")
    (observed.project / name).write_text("1")
    assert observed.path(name) in observed("import os\nfor n in os.listdir():\n  open(n).read()").read


def test_a_file_that_was_there_before_counts_under_its_old_name_after_a_renaming(observed: Observed) -> None:
    (observed.project / "old").write_text("1")
    seen = observed("import os, time; os.rename('old', 'new'); open('new').read()")
    assert observed.path("old") in seen.read
    assert observed.path("new") not in seen.read


def test_a_temporary_file_that_is_renamed_counts_as_written(observed: Observed) -> None:
    seen = observed("import os; open('a.tmp', 'w').write('1'); os.replace('a.tmp', 'a'); open('a').read()")
    assert not {observed.path("a"), observed.path("a.tmp")} & set(seen.read)
    assert observed.path("a") in seen.written


def test_a_fifo_is_neither_opened_nor_recorded(observed: Observed) -> None:
    os.mkfifo(observed.project / "fifo")
    seen = observed("import os; os.close(os.open('fifo', os.O_RDWR))")
    assert observed.path("fifo") not in seen.read


def test_another_sitecustomize_still_runs(observed: Observed) -> None:
    (observed.project / "lib").mkdir()
    (observed.project / "lib" / "sitecustomize.py").write_text("import builtins; builtins.ours = 1")
    observed("assert ours == 1", PYTHONPATH=observed.path("lib"))


def test_children_are_observed_however_they_are_started(observed: Observed) -> None:
    names = ["spawn", "fork", "popen", "exit"]
    for name in names:
        (observed.project / name).write_text("1")
    seen = observed(
        "import multiprocessing, os, subprocess, sys\n"
        "def work(name):\n    open(name).read()\n    os._exit(0)\n"
        "if __name__ == '__main__':\n"
        "    for way in ('spawn', 'fork'):\n"
        "        child = multiprocessing.get_context(way).Process(target=work, args=(way,))\n"
        "        child.start(); child.join()\n"
        "    subprocess.run([sys.executable, '-c', \"open('popen').read()\"], env={**os.environ})\n"
        "    if not os.fork(): work('exit')\n"
        "    os.wait()\n"
    )
    assert {observed.path(name) for name in names} <= set(seen.read)


def test_coverage_tells_how_much_could_be_seen(observed: Observed) -> None:
    seen = observed("import subprocess; subprocess.run(['cat', 'main.py'], stdout=-3)")
    if observed.way == "hook":
        assert (seen.coverage, seen.unseen) == ("python", ("what cat read was not seen (no compiler; no kernel)",))
    else:
        assert (seen.coverage, seen.unseen) == ("full", ())


def test_a_peer_is_named_unless_the_process_serves_it_itself(observed: Observed) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        seen = observed(
            f"import socket\nsocket.create_connection(('localhost', {port})).close()\n"
            "own = socket.create_server(('127.0.0.1', 0))\nsocket.create_connection(own.getsockname()).close()\n"
        )
    if observed.way == "shim":
        assert seen.peers == {f"localhost:{port}"}
    else:  # A port that the system chooses is not told: any peer on this machine may be the process itself.
        assert seen.peers <= {f"localhost:{port}"}


def test_a_socket_in_the_file_system_and_datagrams_are_peers(observed: Observed, tmp_path: Path) -> None:
    path = str(tmp_path / "database")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(type=socket.SOCK_DGRAM) as other:
        server.bind(path)
        server.listen()
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        seen = observed(
            f"import multiprocessing.connection as c, os, socket\nsocket.socket(socket.AF_UNIX).connect({path!r})\n"
            f"socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port}))\n"
            "unsent = socket.socket(type=socket.SOCK_DGRAM)\nunsent.connect(('127.0.0.1', 9))\n"
            "with c.Listener(family='AF_UNIX') as own: c.Client(own.address).close()\n"
        )
    expected = {f"socket {path}", f"127.0.0.1:{port}"}
    # The kernel tells the notification of every connection, also of those by which nothing is sent.
    assert expected <= seen.peers <= expected | ({"127.0.0.1:9"} if observed.way == "notification" else set())


def test_packages_are_those_that_were_imported(observed: Observed) -> None:
    seen = observed("import yaml, click")
    assert {"pyyaml", "click"} <= set(seen.packages)
    assert "mlflow" not in seen.packages


def test_what_an_unobserved_thread_reads_and_starts_does_not_count(observed: Observed) -> None:
    for name in ("seen", "unseen", "thread", "child", "after"):
        (observed.project / name).write_text("1")
    seen = observed(
        "import subprocess, threading\n"
        "from mlflow_plugin.observation.recorder import unobserved\n"
        "open('seen').read()\n"
        "with unobserved():\n"
        "    open('unseen').read()\n"
        "    thread = threading.Thread(target=lambda: open('thread').read()); thread.start()\n"
        "    subprocess.run(['cat', 'child'], stdout=subprocess.DEVNULL)\n"
        "thread.join(); open('after').read()\n"
    )
    read = {os.path.basename(path) for path in seen.read}
    assert {"seen", "after"} <= read
    assert not read & ({"unseen", "thread"} if observed.way == "notification" else {"unseen", "thread", "child"})


OBSERVE = """
from pathlib import Path
from mlflow_plugin.observation import recorder
from mlflow_plugin.observation.coverage import ISOLATED
def observe(own):
    watching = recorder.Recorder(Path(own), own=[own], skip=[])
    watching.observe_this_process()
    return watching
def read(watching):
    return sorted(os.path.basename(path) for path in watching.recording().read if path.startswith(os.getcwd()))
"""


def in_one_process(observed: Observed, script: str) -> object:
    """Run a script that observes itself in the same way, and return what it prints at last."""
    replaced = {"shim": "", "notification": NO_SHIM, "hook": NO_SHIM + NO_KERNEL}[observed.way]
    code = "import json, os, subprocess, sys\n" + OBSERVE + replaced + script
    done = subprocess.run([sys.executable, "-c", code], cwd=observed.project, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout.splitlines()[-1])


def test_a_process_that_runs_already_can_be_observed(observed: Observed) -> None:
    for name in ("before", "after", "child", "data.parquet"):
        (observed.project / name).write_text("1")
    found = in_one_process(
        observed,
        "open('before').read()\n"
        "environment = dict(os.environ)\n"
        "watching = observe(os.getcwd())\n"
        "open('after').read()\n"
        "import pyarrow\npyarrow.memory_map('data.parquet').read()\n"
        "subprocess.run([sys.executable, '-c', \"open('child').read()\"], check=True)\n"
        "watching.close()\n"
        "print(json.dumps([read(watching), watching.recording().coverage, environment == dict(os.environ)]))\n",
    )
    if observed.way == "hook":
        assert found == [["after", "child"], "python", True]
    elif observed.way == "notification":  # The filter stays, and so does its name.
        assert found == [["after", "child", "data.parquet"], "full", False]
    else:
        assert found == [["after", "child", "data.parquet"], "full", True]


def test_a_library_that_ctypes_loads_into_a_process_that_runs_already_is_observed(observed: Observed) -> None:
    if observed.way != "shim":
        pytest.skip("only the shim leads libraries to itself")
    (observed.project / "data").write_text("1")
    source = '#include <stdio.h>\nint f(void) { FILE *file = fopen("data", "r"); return getc(file); }'
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-o", "reader.so", "-"]
    assert subprocess.run(command, cwd=observed.project, input=source, text=True).returncode == 0
    found = in_one_process(
        observed,
        "watching = observe(os.getcwd())\n"
        "import ctypes; ctypes.CDLL('./reader.so').f()\n"
        "print(json.dumps(read(watching)))\n",
    )
    assert "data" in found


def test_a_later_phase_in_one_process_inherits_what_was_read_before_unless_it_is_forgotten(observed: Observed) -> None:
    for name in ("first", "between", "second", "third"):
        (observed.project / name).write_text("1")
    found = in_one_process(
        observed,
        "one = observe(os.getcwd()); open('first').read(); one.close()\n"
        "open('between').read()\n"
        "two = observe(os.getcwd()); open('second').read(); inherited = read(two); two.close()\n"
        "recorder.forget_this_process()\n"
        "three = observe(os.getcwd()); open('second').read(); open('third').read()\n"
        "print(json.dumps([inherited, read(three), three.recording().coverage]))\n",
    )
    coverage = "python" if observed.way == "hook" else "full"
    assert found == [["between", "first", "second"], ["second", "third"], coverage]


def test_references_to_the_registry_are_seen_with_what_they_meant(observed: Observed, store: str) -> None:
    seen = observed(
        "from mlflow import MlflowClient\n"
        "client = MlflowClient()\n"
        "client.create_registered_model('m')\n"
        "for _ in range(2): client.create_model_version('m', 'file:///nowhere')\n"
        "client.set_registered_model_alias('m', 'champion', '1')\n"
        "from mlflow.store.artifact.utils.models import get_model_name_and_version as resolve\n"
        "resolve(client, 'models:/m@champion'), resolve(client, 'models:/m/latest')\n"
    )
    assert seen.references == {"models:/m@champion": "1", "models:/m/latest": "2"}


@pytest.mark.parametrize("harm", ["gone", "read-only", "a file"])
def test_a_folder_that_takes_no_records_does_the_program_no_harm(observed: Observed, harm: str) -> None:
    records = observed.records / "inside"
    records.mkdir()
    watching = Recorder(records, own=[str(observed.project)], skip=[])
    environment = {**os.environ, **watching.variables(os.environ)}
    if harm != "read-only":
        shutil.rmtree(records)
    if harm == "a file":
        records.write_text("")
    records.parent.chmod(0o500 if harm == "read-only" else 0o700)
    done = subprocess.run(
        [sys.executable, "-c", "import os; os.path.exists('a'); os.listdir('.'); open('/dev/null'); print('ok')"],
        cwd=observed.project, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    records.parent.chmod(0o700)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")
    if harm != "read-only":
        assert watching.recording().coverage == "none"


def test_a_folder_that_cannot_be_written_is_no_coverage(tmp_path: Path) -> None:
    watching = Recorder(tmp_path / "missing" / "folder", own=[], skip=[])
    assert watching.variables({})["MLFLOW_PHASES_OBSERVE"]
    assert watching.recording().coverage == "none"


def test_a_program_that_is_statically_linked_is_named(observed: Observed) -> None:
    source = '#include <fcntl.h>\nint main(void) { return open("main.py", O_RDONLY) < 0; }'
    built = subprocess.run(
        ["cc", "-static", "-x", "c", "-o", "reader", "-"], cwd=observed.project, input=source, text=True
    )
    if built.returncode:
        pytest.skip("no static C library here")
    seen = observed("import subprocess; subprocess.run(['./reader'], check=True)")
    expected = {
        "shim": "reader read was not seen: it is statically linked",
        "notification": None,
        "hook": "reader read",
    }
    if sentence := expected[observed.way]:
        assert sentence in seen.unseen[0]
    else:
        assert not seen.unseen


def test_preloaded_libraries_and_python_paths_of_the_user_stay(tmp_path: Path) -> None:
    watching = Recorder(tmp_path, own=[], skip=[])
    once = watching.variables({"LD_PRELOAD": "/lib/theirs.so", "PYTHONPATH": "/their/code"})
    assert once["PYTHONPATH"].split(":")[1:] == ["/their/code"]
    if shim().path:
        assert once["LD_PRELOAD"] == f"/lib/theirs.so:{shim().path}"
    assert watching.variables(once) == once


def test_a_process_of_the_tree_finds_the_recorder_that_watches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Recorder.inherited() is None
    variables = Recorder(tmp_path, own=["/own"], skip=["/skip"]).variables({})
    monkeypatch.setenv("MLFLOW_PHASES_OBSERVE", variables["MLFLOW_PHASES_OBSERVE"])
    inherited = Recorder.inherited()
    assert inherited is not None
    assert (inherited.folder, inherited.own, inherited.skip[0]) == (tmp_path, ("/own",), "/skip")


def test_what_a_script_reads_after_it_imports_start_phase_counts_for_its_phase(observed: Observed) -> None:
    (observed.project / "config.yaml").write_text("1")
    found = in_one_process(
        observed,
        "os.environ['MLFLOW_RUN_ID'] = '0' * 32\n"
        "from mlflow_plugin import start_phase\n"
        "open('config.yaml').read()\n"
        "watching = observe(os.getcwd()); watching.close()\n"
        "print(json.dumps([read(watching), sorted({'LD_PRELOAD', 'MLFLOW_PHASES_OBSERVE'} & set(os.environ))]))\n",
    )
    assert found == [["config.yaml"], []]


def test_neither_the_records_nor_this_package_are_inputs(observed: Observed) -> None:
    found = in_one_process(
        observed,
        "watching = observe(os.getcwd())\n"
        "import mlflow_plugin.format, gc; gc.collect()\n"
        "recording = watching.recording()\n"
        "print(json.dumps(sorted([*recording.read, *recording.modules, *recording.written, *recording.absent])))\n",
    )
    assert found == []


@pytest.mark.parametrize(
    "loss",
    [
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); open('late').read()",
        "import resource\nheld = [open('main.py')]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (held[0].fileno() + 2,) * 2)\n"
        "held.append(open('late'))",
    ],
    ids=["no file may grow", "no descriptor is left"],
)
def test_a_process_that_cannot_write_its_records_any_more_goes_on_and_is_named(observed: Observed, loss: str) -> None:
    (observed.project / "late").write_text("1")
    seen = observed("import os\n" + loss)
    # The hook records before the opening, and the supervisor of the notification has limits of its own.
    assert observed.path("late") in seen.read or "not everything that python" in " ".join(seen.unseen)


def test_a_program_below_a_limit_of_files_is_not_ended_by_being_observed(observed: Observed) -> None:
    (observed.project / "late").write_text("1")
    limited = "ulimit -f 0; cat late | cat; cat late; exit $?"
    seen = observed(f"import subprocess; assert subprocess.run(['bash', '-c', {limited!r}], stdout=-3).returncode == 0")
    assert seen.unseen or observed.path("late") in seen.read


def test_a_program_that_does_not_load_the_library_is_named(observed: Observed) -> None:
    if os.geteuid():
        pytest.skip("only root may become another user")
    (observed.project / "late").write_text("1")
    seen = observed(
        "import subprocess\n"
        "subprocess.run(['setpriv', '--reuid', '65534', '--clear-groups', 'cat', '/etc/passwd'], stdout=-3, stderr=-3)"
    )
    assert bool(seen.unseen) is (observed.way != "notification")


def test_a_shell_of_the_c_library_is_observed_in_an_environment_without_the_variables(observed: Observed) -> None:
    (observed.project / "late").write_text("1")
    seen = observed(
        "import os\nfor name in ('LD_PRELOAD', 'PYTHONPATH', 'MLFLOW_PHASES_OBSERVE'): os.environ.pop(name, None)\n"
        "os.system('cat late > /dev/null')\n"
    )
    assert observed.path("late") in seen.read or "what cat read" in " ".join(seen.unseen)


def test_a_path_that_is_looked_at_and_not_opened_is_seen(observed: Observed) -> None:
    for name in ("size", "flag", "linked", "read"):
        (observed.project / name).write_text("123")
    (observed.project / "link").symlink_to("linked")
    seen = observed(
        "import os\nos.path.getsize('size'), os.access('flag', 0), os.readlink('link'), open('read').read()\n"
        "os.path.lexists('a.yaml'), os.makedirs('out', exist_ok=True), os.makedirs('out', exist_ok=True)\n"
    )
    looked = {path: size for path, size in seen.looked.items() if path.startswith(observed.path(""))}
    assert looked.pop(observed.path("main.py"), 0) is not None
    assert looked == {observed.path("size"): 3, observed.path("flag"): -1}
    assert seen.asked_links == {observed.path("link"): "linked"}
    assert observed.path("a.yaml") in seen.absent


def test_a_file_of_the_kernel_that_stands_for_another_is_seen_as_that(observed: Observed) -> None:
    if observed.way != "shim":
        pytest.skip("only the shim asks where a descriptor leads")
    (observed.project / "data").write_text("1")
    assert observed.path("data") in observed("open('/proc/self/cwd/data').read()").read


def test_what_make_compares_by_its_time_counts_by_its_content(observed: Observed) -> None:
    if observed.way != "shim" or not shutil.which("make"):
        pytest.skip("only the shim sees what make looks at")
    for name in ("data", "model"):
        (observed.project / name).write_text("1")
    (observed.project / "Makefile").write_text("model: data\n\tcp data model\n")
    os.utime(observed.project / "data", (1e9, 1e9))
    assert observed.path("data") in observed("", command=["make", "-s", "model"]).read


@pytest.mark.parametrize(
    "reading",
    [
        "library.open(b'data', 0)",
        "library.syscall({'x86_64': 257, 'aarch64': 56}[os.uname().machine], -100, b'data', 0, 0)",
        "library.syscall(437, -100, b'data', struct.pack('QQQ', 0, 0, 0), 24)",
        "library.glob(b'list*/*', 0, None, ctypes.create_string_buffer(256))",
        "library.nftw(b'listed', ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 0), 5, 0)",
    ],
    ids=["open", "openat", "openat2", "glob", "nftw"],
)
def test_what_native_code_reads_past_the_usual_functions_is_seen_or_named(observed: Observed, reading: str) -> None:
    (observed.project / "data").write_text("1")
    (observed.project / "listed").mkdir()
    seen = observed(f"import ctypes, os, struct\nlibrary = ctypes.CDLL(None)\n{reading}\n")
    is_seen = observed.path("data") in seen.read or observed.path("listed") in seen.listed
    assert is_seen or [sentence for sentence in seen.unseen if "python" in sentence] or observed.way != "shim"


@pytest.mark.parametrize(("request_code", "named"), [(22, True), (28, True), (29, False), (9, False)])
def test_io_uring_is_named_where_it_reads_files_and_not_where_it_waits_for_a_network(
    observed: Observed, request_code: int, named: bool
) -> None:
    if observed.way != "shim":
        pytest.skip("io_uring hides from the shim alone")
    ring = ctypes.CDLL(None).syscall(425, 4, ctypes.create_string_buffer(120))
    if ring < 0:
        pytest.skip("no io_uring here")
    os.close(ring)
    seen = observed(
        "import ctypes, mmap\n"
        "library = ctypes.CDLL(None)\n"
        "ring = library.syscall(425, 4, ctypes.create_string_buffer(120))\n"
        "entries = mmap.mmap(ring, 4 * 64, offset=0x10000000)\n"
        f"entries[64] = {request_code}\n"
        "library.syscall(426, ring, 0, 0, 0, None, 0)\n"
    )
    assert bool([sentence for sentence in seen.unseen if "io_uring" in sentence]) is named


def test_a_program_of_go_is_named_since_it_calls_the_kernel_itself(observed: Observed) -> None:
    if observed.way != "shim":
        pytest.skip("a program of Go hides from the shim alone")
    note = (
        '__asm__(".section .note.go.buildid, \\"a\\", @note\\n.long 4, 4, 4\\n.asciz \\"Go\\\\0\\"\\n.long 0\\n.text");'
    )
    source = f"{note}\nint main(void) {{ return 0; }}"
    built = subprocess.run(["cc", "-x", "c", "-o", "tool", "-"], cwd=observed.project, input=source, text=True)
    assert built.returncode == 0
    sentence = observed("import subprocess; subprocess.run(['./tool'], check=True)").unseen[0]
    assert sentence == (
        f"what {observed.path('tool')} read was not seen: it calls the kernel without the C library, as Go programs do"
    )


@pytest.mark.parametrize(
    "start",
    [
        "subprocess.run('git --version; cat data', shell=True, stdout=-3)",
        "subprocess.run('read x < data', shell=True)",
        "subprocess.run([sys.executable, '-I', '-c', 'open(\\'data\\')'])",
        "subprocess.run([sys.executable, '-c', 'open(\\'data\\')'], env={})",
        "import ctypes; ctypes.CDLL(None).open(b'data', 0)",
    ],
)
def test_a_reader_that_the_hook_does_not_see_is_named(observed: Observed, start: str) -> None:
    (observed.project / "data").write_text("1")
    seen = observed(f"import subprocess, sys\n{start}\n")
    assert observed.path("data") in seen.read or (observed.way == "hook" and seen.unseen)
    assert (ISOLATED in seen.partly) is ("-I" in start)
    mentioned = observed.way == "hook" or (observed.way == "notification" and "shell" in start)
    assert bool(set(seen.partly) - {ISOLATED}) is mentioned


def test_data_in_shared_memory_is_seen(observed: Observed) -> None:
    if not os.path.isdir("/dev/shm"):
        pytest.skip("no shared memory here")
    with tempfile.NamedTemporaryFile(dir="/dev/shm", suffix=".csv") as data:
        assert data.name in observed(f"open({data.name!r}).read()").read
