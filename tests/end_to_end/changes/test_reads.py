"""A change of something that the phase has read makes it run again; anything else does not."""

import os
import shutil
import sqlite3

import pytest

from mlflow_plugin import find_reusable
from tests.end_to_end.changes.native import MODULES, READERS

pytestmark = pytest.mark.end_to_end


def test_a_data_file_behind_a_literal_path(changing, runs_after):
    changing.script("print(len(open('data.csv').read()))")
    changing.write("data.csv", "a,b\n1,2\n")
    reason = runs_after(lambda: changing.write("data.csv", "a,b\n1,3\n"))
    assert "read data.csv, which has changed since" in reason


@pytest.mark.parametrize(
    "path",
    [
        "os.path.join(os.path.dirname(os.path.abspath(__file__)), 'data', 'rows.csv')",
        "os.path.join(os.getcwd(), 'data', 'rows.csv')",
        "json.load(open('settings.json'))['data']",
    ],
)
def test_a_path_that_is_put_together(changing, runs_after, path):
    changing.script(f"import json, os\nopen({path}).read()")
    changing.write("settings.json", '{"data": "data/rows.csv"}')
    changing.write("data/rows.csv", "1")
    assert "data/rows.csv" in runs_after(lambda: changing.write("data/rows.csv", "2"))


@pytest.mark.parametrize("name", ["conf/config.yaml", "conf/model/small.yaml", "prompt.jinja", "query.sql"])
def test_configurations_templates_and_queries(changing, runs_after, name):
    changing.script(
        """
        from pathlib import Path
        import yaml
        config = yaml.safe_load(Path("conf/config.yaml").read_text())
        yaml.safe_load(Path(f"conf/model/{config['defaults'][0]['model']}.yaml").read_text())
        Path("prompt.jinja").read_text() + Path("query.sql").read_text()
        """
    )
    changing.write("conf/config.yaml", "defaults: [{model: small}]\n")
    changing.write("conf/model/small.yaml", "width: 3\n")
    changing.write("prompt.jinja", "Hello {{ name }}")
    changing.write("query.sql", "select 1")
    content = (changing.folder / name).read_text()
    assert name in runs_after(lambda: changing.write(name, content + "\n# more\n"))


@pytest.mark.parametrize("change", ["added", "removed", "changed"])
def test_a_folder_that_is_listed(changing, runs_after, change):
    changing.script("from pathlib import Path\n[file.read_bytes() for file in sorted(Path('images').iterdir())]")
    changing.write("images/1.png", "one")
    changing.write("images/2.png", "two")
    edits = {
        "added": lambda: changing.write("images/3.png", "three"),
        "removed": (changing.folder / "images" / "1.png").unlink,
        "changed": lambda: changing.write("images/1.png", "uno"),
    }
    assert "images" in runs_after(edits[change])


@pytest.mark.parametrize(
    "command",
    [
        "cat data.txt > /dev/null && python main.py",
        'python main.py && awk "{{print}}" "$PWD/data.txt"',
        'python main.py && sh "$(dirname ./main.py)/tool"',
    ],
)
def test_a_shell_command_reads_it(changing, runs_after, command):
    changing.declare(command)
    changing.script("")
    changing.write("tool", "cat data.txt\n")
    changing.write("data.txt", "1 2\n")
    runs_after(lambda: changing.write("data.txt", "3 4\n"))


@pytest.mark.parametrize(
    "body",
    [
        "import subprocess\nsubprocess.run(['cat', 'data.txt'], check=True)",
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'open(\"data.txt\").read()'], check=True)",
        "import multiprocessing\n"
        "def read(name):\n    return len(open(name).read())\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n        pool.map(read, ['data.txt'])",
    ],
    ids=["cat", "python", "multiprocessing"],
)
def test_a_child_process_reads_it(changing, runs_after, body):
    changing.script(body)
    changing.write("data.txt", "1")
    runs_after(lambda: changing.write("data.txt", "2"))


def test_a_file_outside_the_project(changing, runs_after):
    changing.script(f"open({str(changing.outside / 'rows.csv')!r}).read()\nopen('../outside/other.csv').read()")
    changing.write(str(changing.outside / "rows.csv"), "1")
    changing.write(str(changing.outside / "other.csv"), "1")
    runs_after(lambda: changing.write(str(changing.outside / "other.csv"), "2"))


def test_what_the_phase_leaves_behind_does_not_make_it_run_for_ever(changing, reuses_after):
    changing.script(
        """
        import os, tempfile
        open("cache.txt", "w").write("made")
        open("cache.txt").read()
        open("log.txt", "a").write("started")
        os.makedirs("out", exist_ok=True)
        open("out/result.txt", "w").write("1")
        os.listdir("out")
        with tempfile.NamedTemporaryFile("w+") as file:
            file.write("x")
            file.seek(0)
            file.read()
        notebook = open("book.ipynb").read()
        open("book.ipynb", "w").write(notebook + "\\n")
        """
    )
    changing.write("book.ipynb", "{}")
    reuses_after(lambda: None)


def test_what_was_there_counts_though_the_phase_opened_it_for_writing_first(changing, runs_after):
    changing.declare("touch data.csv && python main.py {log}", parameters="{log: {type: path, default: log.csv}}")
    changing.script("import sys\nopen('data.csv').read()\nopen(sys.argv[1], 'a').close()\nopen(sys.argv[1]).read()")
    changing.write("data.csv", "1\n")
    changing.write("log.csv", "1\n")
    assert "log.csv" in runs_after(lambda: changing.write("log.csv", "2\n"))
    changing.write("data.csv", "2\n")
    assert "data.csv" in changing.start().reason


def test_a_cache_that_the_phase_made_counts_as_it_left_it_or_gone(changing, reuses_after):
    changing.script(
        "import os\nif not os.path.exists('c.csv'):\n    open('c.csv', 'w').write('1')\nopen('c.csv').read()"
    )
    reuses_after(lambda: (changing.folder / "c.csv").unlink())
    changing.write("c.csv", "99")
    assert "c.csv" in changing.start().reason


def test_a_listing_of_own_results_counts_without_them(changing, runs_after):
    changing.script("import glob\nopen('results/mine.json', 'w').write('1')\nglob.glob('results/*.json')")
    (changing.folder / "results").mkdir()
    assert "other.json" in runs_after(lambda: changing.write("results/other.json", "5"))


def test_a_folder_that_the_phase_moves_away_is_read_under_its_first_name(changing, runs_after):
    changing.script(
        "import os, shutil\nif os.path.exists('inbox'):\n    shutil.rmtree('work', ignore_errors=True)\n"
        "    os.rename('inbox', 'work')\nopen('work/a').read()"
    )
    changing.write("inbox/a", "1")
    assert "inbox/a" in runs_after(lambda: changing.write("inbox/a", "2"))


def test_a_program_that_commits_into_the_log_of_a_database(changing, runs_after):
    with sqlite3.connect(changing.folder / "rows.db") as connection:
        connection.execute("pragma journal_mode=wal")
        connection.execute("create table rows (a)")
    connection.close()
    changing.script("import sqlite3\nsqlite3.connect('rows.db').execute('select * from rows').fetchall()")
    other = []

    def commit() -> None:
        other.append(sqlite3.connect(changing.folder / "rows.db"))
        other[0].execute("insert into rows values (1)")
        other[0].commit()

    try:
        assert "rows.db-wal" in runs_after(commit)
    finally:
        other[0].close()


def test_what_mlflow_looks_for_when_it_is_imported_does_not_count(changing, reuses_after):
    changing.script("import mlflow\nmlflow.log_metric('a', 1)")
    reason = reuses_after(lambda: changing.write("unread.csv", "1"))
    assert "read" not in reason


def test_only_times_change_or_equal_bytes_are_written(changing, reuses_after):
    changing.script("open('data.csv').read()")
    changing.write("data.csv", "1")

    def same_bytes() -> None:
        os.utime(changing.folder / "data.csv")
        shutil.copy(changing.folder / "data.csv", changing.folder / "new")
        os.replace(changing.folder / "new", changing.folder / "data.csv")

    reuses_after(same_bytes)


@pytest.mark.parametrize("look", ["os.path.exists('config.local.yaml')", "Path('config.local.yaml').is_file()"])
def test_an_optional_file_appears(changing, runs_after, look):
    changing.script(
        f"import os\nfrom pathlib import Path\nif {look}:\n    open('config.local.yaml').read()\n"
        "try:\n    open('other.yaml')\nexcept FileNotFoundError:\n    pass"
    )
    assert "config.local.yaml" in runs_after(lambda: changing.write("config.local.yaml", "a: 1"))


def test_an_optional_file_that_could_not_be_opened_appears(changing, runs_after):
    changing.script("try:\n    open('other.yaml')\nexcept FileNotFoundError:\n    pass")
    assert "other.yaml" in runs_after(lambda: changing.write("other.yaml", "a: 1"))


def test_a_variable_that_the_projects_own_code_reads(changing, runs_after):
    changing.monkeypatch.setenv("LEVEL", "1")
    changing.script("import os\nos.environ['LEVEL']\ndict(os.environ)")
    changing.monkeypatch.setenv("UNREAD", "1")
    reason = runs_after(lambda: changing.monkeypatch.setenv("LEVEL", "2"))
    assert "LEVEL" in reason


def test_a_variable_that_nobody_reads_by_name_and_a_secret_do_not_count(changing, reuses_after):
    changing.monkeypatch.setenv("UNREAD", "1")
    changing.monkeypatch.setenv("API_TOKEN", "hunter2-hunter2")
    changing.script("import os\nos.environ.copy()\nos.environ.get('API_TOKEN')")

    def change() -> None:
        changing.monkeypatch.setenv("UNREAD", "2")
        changing.monkeypatch.setenv("API_TOKEN", "another-secret")

    reason = reuses_after(change)
    assert "API_TOKEN" in reason
    assert "secret" not in reason.replace("a secret", "")


def test_a_database_that_the_script_reads(changing, runs_after):
    def fill(value: int) -> None:
        with sqlite3.connect(changing.folder / "rows.db") as connection:
            connection.execute("create table if not exists rows (a)")
            connection.execute("insert into rows values (?)", (value,))

    fill(1)
    changing.script("import sqlite3\nsqlite3.connect('rows.db').execute('select * from rows').fetchall()")
    runs_after(lambda: fill(2))


def test_an_alias_of_a_registered_model_moves(changing, runs_after):
    import mlflow

    client = changing.store.client
    client.create_registered_model("m")
    for _ in range(2):
        client.create_model_version("m", str(changing.outside))
    client.set_registered_model_alias("m", "champion", "1")
    changing.script(
        "from mlflow import MlflowClient\nprint(MlflowClient().get_model_version_by_alias('m', 'champion').version)"
    )
    assert mlflow.get_tracking_uri()
    assert "models:/m@champion" in runs_after(lambda: client.set_registered_model_alias("m", "champion", "2"))


def test_an_artifact_of_the_run_that_feeds_a_phase_is_no_question(changing):
    changing.write(
        "MLproject",
        "name: changing\nentry_points:\n"
        "  a: {command: 'python a.py', phase: {}}\n"
        "  b:\n    parameters: {a_run_id: {type: string, default: latest}}\n"
        "    command: 'python b.py {a_run_id}'\n    phase: {needs: [a]}\n",
    )
    changing.script("import mlflow\nmlflow.log_text('1', 'd/x.txt')", "a.py")
    changing.script("import mlflow, sys\nmlflow.artifacts.download_artifacts(f'runs:/{sys.argv[1]}/d/x.txt')", "b.py")
    assert changing.start("a").computed
    assert changing.start("b").computed
    assert changing.start("b").verdict == "reuse"


def test_a_network_peer_is_named_and_inputs_are_not_called_the_same(changing, reuses_after):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        changing.script(f"import socket\nsocket.create_connection(('localhost', {port})).close()")
        reason = reuses_after(lambda: None)
    assert f":{port}" in reason
    assert "not compared" in reason
    assert "inputs" not in reason


def test_data_under_a_named_root_is_found_elsewhere_on_another_machine(changing, tmp_path):
    changing.declare(rest="roots: {data: $DATA}")
    changing.script("import os\nopen(os.path.expandvars('$DATA/rows.csv')).read()")
    for name, text in (("a", "1"), ("b", "1"), ("c", "2")):
        changing.write(str(tmp_path / name / "rows.csv"), text)
    changing.monkeypatch.setenv("DATA", str(tmp_path / "a"))
    assert changing.start().computed
    changing.monkeypatch.setenv("DATA", str(tmp_path / "b"))
    assert changing.start().verdict == "reuse"
    changing.monkeypatch.setenv("DATA", str(tmp_path / "c"))
    assert changing.start().verdict == "run"


def test_data_on_a_missing_mount_makes_it_ask_and_neither_run_nor_reuse(changing):
    changing.script(f"open({str(changing.outside / 'disk' / 'rows.csv')!r}).read()")
    changing.write(str(changing.outside / "disk" / "rows.csv"), "1")
    assert changing.start().computed
    (changing.outside / "disk").rename(changing.outside / "unmounted")
    asked = changing.start()
    assert (asked.verdict, asked.computed) == ("ask", False)
    assert "disk" in asked.reason
    (changing.outside / "unmounted").rename(changing.outside / "disk")
    assert changing.start().verdict == "reuse"


@pytest.mark.parametrize("reader", ["pandas_parquet", "numpy"])
def test_a_file_that_a_native_reader_opens(changing, runs_after, reader):
    pytest.importorskip(MODULES.get(reader, reader))
    write, code = READERS[reader]
    suffix = {"numpy": ".npy", "pandas": ".csv"}.get(reader, ".bin")
    path = changing.folder / f"data{suffix}"
    write(path, 1)
    changing.script(code.format(path.name))
    assert path.name in runs_after(lambda: write(path, 2))


def test_a_script_that_holds_its_phase_is_watched_under_mlflows_own_backend(changing):
    changing.script(
        """
        from mlflow_plugin import start_phase
        with start_phase() as phase:
            open("data.csv").read()
            import subprocess
            subprocess.run(["cat", "other.csv"], check=True)
        """
    )
    changing.write("data.csv", "1")
    changing.write("other.csv", "1")
    assert changing.start_plainly().verdict == "run"
    assert find_reusable(changing.folder, "main").action == "reuse"
    changing.write("data.csv", "2")
    assert changing.start_plainly().verdict == "run"
    changing.write("other.csv", "2")
    changed = find_reusable(changing.folder, "main")
    assert changed.action == "run"
    assert "other.csv" in changed.reasons[0]
