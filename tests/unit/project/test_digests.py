import hashlib
import json
import math
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project import digests

pytestmark = pytest.mark.usefixtures("cache_folder")


@pytest.fixture
def ten_seconds_later(monkeypatch):
    now = time.time_ns() + 10_000_000_000
    monkeypatch.setattr(digests.time, "time_ns", lambda: now)


def written(path: Path, content: bytes = b"weights") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def rows_in(cache_folder: Path) -> int:
    return sqlite3.connect(cache_folder / "digests.sqlite").execute("SELECT count(*) FROM remembered").fetchone()[0]


def count_reads(monkeypatch) -> list[Path]:
    reads: list[Path] = []
    read = digests.read_digest

    def counted(path: Path) -> str:
        reads.append(path)
        return read(path)

    monkeypatch.setattr(digests, "read_digest", counted)
    return reads


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_file_digest_is_sha256_of_the_bytes(tmp_path):
    content = os.urandom(3_000_000)
    assert digests.file_digest(written(tmp_path / "a", content)) == hashlib.sha256(content).hexdigest()


def test_unchanged_file_is_read_once(tmp_path, monkeypatch, ten_seconds_later):
    reads = count_reads(monkeypatch)
    file = written(tmp_path / "a")
    assert digests.file_digest(file) == digests.file_digest(file)
    assert len(reads) == 1


def test_names_that_are_not_utf_8_are_remembered_too(tmp_path, monkeypatch, ten_seconds_later):
    reads = count_reads(monkeypatch)
    files = [written(tmp_path / name) for name in (os.fsdecode(b"a\xff"), "b")]
    for _ in range(2):
        for file in files:
            digests.file_digest(file)
        digests.flush()
    assert len(reads) == 2


def test_another_process_reads_no_unchanged_file(tmp_path, ten_seconds_later):
    file = written(tmp_path / "a")
    expected = digests.file_digest(file)
    digests.flush()
    script = (
        "import sys; from mlflow_plugin.project import digests\n"
        "def unread(path): raise SystemExit('read again')\n"
        "digests.read_digest = unread\n"
        "print(digests.file_digest(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", script, file], capture_output=True, text=True, cwd=Path.cwd())
    assert done.stdout.strip() == expected, done.stderr


@pytest.mark.parametrize("keep_times", [False, True])
def test_changed_file_of_equal_size_is_read_again(tmp_path, ten_seconds_later, keep_times):
    file = written(tmp_path / "a", b"before")
    first = digests.file_digest(file)
    times = file.stat()
    time.sleep(0.02)
    file.write_bytes(b"after!")
    if keep_times:
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert digests.file_digest(file) != first


def test_file_changed_a_moment_ago_is_not_cached(tmp_path, monkeypatch):
    reads = count_reads(monkeypatch)
    file = written(tmp_path / "a")
    digests.file_digest(file)
    digests.file_digest(file)
    assert len(reads) == 2


def test_file_changed_while_it_is_read_is_not_cached(tmp_path, ten_seconds_later):
    file = written(tmp_path / "a")

    def compute(path: Path) -> str:
        with open(path, "ab") as opened:
            opened.write(b"more")
        return "stale"

    digests.remembered(file, "test", compute)
    assert digests.remembered(file, "test", lambda path: "fresh") == "fresh"


def test_the_digest_of_what_was_written_with_a_time_of_its_own_is_known_at_once(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("before")
    moment = time.time_ns() | 1
    os.utime(file, ns=(moment, moment))
    digests.remember_written(file, "known", moment)
    assert digests.file_digest(file) == "known"
    assert digests.file_states([file])[file].sha256 == "known"
    file.write_text("beside")  # As many bytes, within the clock's resolution.
    assert digests.file_digest(file) == sha256(b"beside")
    assert digests.file_states([file])[file].sha256 == sha256(b"beside")


def test_nothing_is_known_of_a_file_whose_time_is_not_the_one_that_was_set(tmp_path):
    file = tmp_path / "file"
    file.write_text("before")
    moment = time.time_ns() | 1
    digests.remember_written(file, "known", moment)  # Another process has written since.
    os.utime(file, ns=(moment - 1, moment - 1))
    digests.remember_written(file, "known", moment - 1)  # A file system may have rounded it.
    assert digests.file_digest(file) == sha256(b"before")


def test_states_of_many_files_are_those_of_each(tmp_path, ten_seconds_later):
    files = [tmp_path / str(number) for number in range(1100)]
    for file in files:
        file.write_text(file.name)
    for _ in range(2):
        states = digests.file_states(files)
        assert [states[file].sha256 for file in files] == [sha256(file.name.encode()) for file in files]
        digests.flush()
    files[7].write_text("changed")
    assert digests.file_states(files)[files[7]].sha256 == sha256(b"changed")
    with pytest.raises(PhaseError, match="cannot be read"):
        digests.file_states([tmp_path / "absent"])


def test_equal_files_have_one_digest_and_others_none(tmp_path):
    content = os.urandom(3_000_000)
    for name, data in (("one", content), ("two", content), ("longer", content + b"x"), ("other", b"y" + content[1:])):
        (tmp_path / name).write_bytes(data)
    assert digests.digest_of_equal(tmp_path / "one", tmp_path / "two") == sha256(content)
    assert digests.digest_of_equal(tmp_path / "one", tmp_path / "longer") == ""
    assert digests.digest_of_equal(tmp_path / "other", tmp_path / "one") == ""


def test_kinds_are_cached_apart(tmp_path, ten_seconds_later):
    file = written(tmp_path / "a")
    assert digests.remembered(file, "one", lambda path: "1") == "1"
    assert digests.remembered(file, "two", lambda path: "2") == "2"
    assert digests.remembered(file, "one", lambda path: "3") == "1"


def test_corrupt_cache_is_replaced(tmp_path, cache_folder, monkeypatch, ten_seconds_later):
    cache_folder.mkdir(parents=True)
    (cache_folder / "digests.sqlite").write_bytes(b"this is no database" * 1000)
    digests._forget_connection()
    file = written(tmp_path / "a")
    assert digests.file_digest(file) == hashlib.sha256(b"weights").hexdigest()
    digests._forget_connection()
    digests.file_digest(file)
    digests.flush()
    assert rows_in(cache_folder) == 1


def test_unusable_cache_folder_costs_only_time(tmp_path, monkeypatch, ten_seconds_later):
    written(tmp_path / "no_folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no_folder"))
    assert digests.file_digest(written(tmp_path / "a")) == hashlib.sha256(b"weights").hexdigest()
    digests.flush()


def test_locked_cache_costs_only_time(tmp_path, cache_folder, ten_seconds_later):
    digests.file_digest(written(tmp_path / "a"))
    digests.flush()
    other = sqlite3.connect(cache_folder / "digests.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert digests.file_digest(written(tmp_path / "b", b"x")) == hashlib.sha256(b"x").hexdigest()
    digests.flush()
    other.execute("ROLLBACK")


def test_concurrent_processes_share_one_cache(tmp_path, cache_folder):
    files = [written(tmp_path / f"f{i}", b"%d" % i) for i in range(20)]
    script = (
        "import sys, time; from pathlib import Path; from mlflow_plugin.project import digests\n"
        "later = time.time_ns() + 10**10; digests.time.time_ns = lambda: later\n"
        "print([digests.file_digest(Path(name)) for name in sys.argv[1:]])"
    )
    command = [sys.executable, "-c", script, *map(str, files)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    printed = {process.communicate()[0] for process in running}
    assert printed == {str([hashlib.sha256(b"%d" % i).hexdigest() for i in range(20)]) + "\n"}
    assert rows_in(cache_folder) == 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_opens_its_own_connection(tmp_path, ten_seconds_later):
    file = written(tmp_path / "a")
    digests.file_digest(file)
    child = os.fork()
    if child == 0:
        os._exit(0 if digests._cache._connection is None and digests.file_digest(file) else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("name", ["missing", "folder", "pipe", "nul\0name"])
def test_an_unreadable_file_is_named(tmp_path, name):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PhaseError, match=name.split("\0")[0]):
        digests.file_digest(tmp_path / name)


def test_folder_digest_counts_names_and_bytes_but_not_its_location(tmp_path):
    for folder in ("one", "two", "renamed", "edited"):
        written(tmp_path / folder / "sub" / "a.csv")
        written(tmp_path / folder / "b.csv", b"rows")
    (tmp_path / "renamed" / "b.csv").rename(tmp_path / "renamed" / "c.csv")
    written(tmp_path / "edited" / "b.csv", b"ROWS")
    same, other, renamed, edited = (digests.path_digest(tmp_path / n) for n in ("one", "two", "renamed", "edited"))
    assert same == other
    assert len({same, renamed, edited}) == 3


def test_folder_digest_leaves_out_hidden_folders_and_caches(tmp_path):
    written(tmp_path / "data" / "a.csv")
    before = digests.path_digest(tmp_path / "data")
    written(tmp_path / "data" / ".git" / "HEAD")
    written(tmp_path / "data" / "__pycache__" / "a.pyc")
    assert digests.path_digest(tmp_path / "data") == before


def test_link_loops_end(tmp_path):
    written(tmp_path / "data" / "a" / "x.csv")
    written(tmp_path / "data" / "b" / "y.csv")
    for source, target in (("a/up", ".."), ("a/b", "../b"), ("b/a", "../a"), ("self", "."), ("broken", "nowhere")):
        (tmp_path / "data" / source).symlink_to(target)
    names = [path.name for _, path in digests.walk_files(tmp_path / "data")]
    assert sorted(names) == ["x.csv", "y.csv"]
    assert len(digests.path_digest(tmp_path / "data")) == 64


@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.floats(), st.text(), st.booleans(), st.none())))
def test_value_digest_does_not_depend_on_order(value):
    assert digests.value_digest(value) == digests.value_digest(dict(reversed(value.items())))


def test_value_digest_is_sha256_of_canonical_json():
    value = {"b": [1, 0.1, "é"], "a": (True, None)}
    text = json.dumps({"a": [True, None], "b": [1, 0.1, "é"]}, separators=(",", ":"))
    assert digests.value_digest(value) == hashlib.sha256(text.encode()).hexdigest()


def test_value_digest_distinguishes_nan_infinity_and_numbers():
    assert len({digests.value_digest(v) for v in (math.nan, math.inf, -math.inf, 0.0, "NaN")}) == 5


@pytest.mark.parametrize("value", [object(), {1, 2}, 10**5000, {(1, 2): 3}], ids=["object", "set", "huge", "tuple key"])
def test_value_without_canonical_form_is_refused(value):
    with pytest.raises(PhaseError, match="no canonical form"):
        digests.value_digest(value)
