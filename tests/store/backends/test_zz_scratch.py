import pytest
from click.testing import CliRunner
from mlflow_plugin.cli import main
from tests.store.backends.test_matrix_elsewhere import Files, files  # noqa

def cli(*words):
    done = CliRunner().invoke(main, list(words))
    print("$", *words); print(done.exit_code, done.output)
    if done.exception and not isinstance(done.exception, SystemExit):
        print("EXC", type(done.exception), done.exception)

def test_it(files, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    files.run()
    first = files.history().latest(files.history().project.phases["train"])
    files.declare("[0, 1, 2]")
    files.run()
    second = files.history().latest(files.history().project.phases["train"])
    cli("compare", first.run_id, second.run_id)
    cli("compare", first.run_id, first.members[0])
    cli("compare", first.members[0], first.members[1])
    cli("rollback", "train", "--to", first.run_id, "--reason", "x", "--project", str(files.demo.folder))
    cli("rollback", "train", "--to", first.members[0], "--reason", "x", "--project", str(files.demo.folder))
    cli("status", "--project", str(files.demo.folder))
    print(files.history().latest(files.history().project.phases["train"]))
    for one in (second.members[2],):
        cli("quarantine", one, "--lift")
    cli("rollback", "main", "--reason", "x", "--project", str(files.demo.folder / "train"))
    cli("quarantine", first.members[0], "--reason", "bad")
    cli("quarantine", first.run_id, "--reason", "bad")
    cli("status", "--project", str(files.demo.folder))
    cli("plan", "main", "--project", str(files.demo.folder))
    print(files.run())
    cli("plan", "mean", "-P", f"train_run_id={first.run_id}", "--project", str(files.demo.folder))
    cli("plan", "mean", "-P", f"train_run_id={second.run_id}", "--project", str(files.demo.folder))
    new = files.history().latest(files.history().project.phases["train"])
    cli("plan", "mean", "-P", f"train_run_id={new.run_id}", "--project", str(files.demo.folder))
    cli("explain", "train", "--project", str(files.demo.folder))
    cli("checkout", "train", "--project", str(files.demo.folder))
