"""What a phase looks at without opening it counts, and a process that does not record is asked about."""

import os

import pytest

from mlflow_plugin.observation.shim import shim
from tests.end_to_end.changes.conftest import ChangingProject

needs_the_shim = pytest.mark.skipif(shim().path is None, reason="no shim here")


@pytest.mark.parametrize(
    "look",
    ["os.path.getsize('data/model')", "[e.stat().st_size for e in os.scandir('data')]", "os.readlink('data/current')"],
)
@needs_the_shim
def test_what_a_look_tells_changes(changing: ChangingProject, runs_after, look: str) -> None:
    changing.script(f"import os\nprint({look})\n")
    changing.write("data/model", "1")
    (changing.folder / "data" / "current").symlink_to("model")

    def change() -> None:
        changing.write("data/model", "12345")
        (changing.folder / "data" / "current").unlink()
        (changing.folder / "data" / "current").symlink_to("./model")

    assert "data/" in runs_after(change)


@needs_the_shim
def test_a_file_that_was_there_is_gone(changing: ChangingProject, runs_after) -> None:
    changing.script("import os\nprint(os.path.exists('flag'))\n")
    changing.write("flag", "")
    assert "flag, which is gone" in runs_after((changing.folder / "flag").unlink)


def test_a_file_that_was_looked_for_outside_the_project_appears(changing: ChangingProject, runs_after) -> None:
    # The folder of the test is one for temporary files: a home is not.
    changing.monkeypatch.setattr("mlflow_plugin.observation.tracing.is_temporary", lambda path: False)
    path = changing.outside / "app.yaml"
    changing.script(f"import os\nprint(os.path.exists({str(path)!r}))\n")
    assert str(path) in runs_after(lambda: path.write_text("1"))


@needs_the_shim
def test_ordinary_looks_need_no_new_run(changing: ChangingProject, reuses_after) -> None:
    changing.script(
        """
        import os, pathlib
        os.makedirs('out/part', exist_ok=True)
        pathlib.Path('out').mkdir(exist_ok=True)
        os.path.exists('out/log') or open('out/log', 'w').write('1')
        open('out/log', 'a').write('2')
        print(os.path.realpath(__file__), os.path.isdir('data'), open('data/rows').read())
        """
    )
    changing.write("data/rows", "1")
    changing.write("out/part/earlier", "1")

    def change() -> None:
        changing.write("data/more", "1")
        changing.write("out/part/earlier", "12345")

    assert "same parameters, code and inputs" in reuses_after(change)


@needs_the_shim
def test_a_process_that_cannot_record_is_asked_about(changing: ChangingProject) -> None:
    changing.script("import os\nos.system('(ulimit -f 0; cat data/rows) | cat')\n")
    changing.write("data/rows", "1")
    assert changing.start().computed
    answer = changing.start()
    assert (answer.verdict, answer.computed) == ("ask", False)
    assert "could not write its records" in answer.reason


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
@needs_the_shim
def test_a_command_of_another_user_is_asked_about(changing: ChangingProject) -> None:
    changing.script("")
    changing.declare("setpriv --reuid 65534 --clear-groups cat /etc/passwd > /dev/null; python main.py")
    assert changing.start().computed
    answer = changing.start()
    assert (answer.verdict, answer.computed) == ("ask", False)
    assert "what cat read was not seen" in answer.reason
