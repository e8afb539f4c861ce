"""A project of one of the shapes on disk, run as a user does, and what came of it."""

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import mlflow
import pytest
import yaml
from mlflow.entities import Run

from mlflow_plugin.errors import PhaseError
from tests.end_to_end.four_shapes.projects import Shape
from tests.end_to_end.four_shapes.steps import STEPS, elsewhere
from tests.end_to_end.project_folder import ProjectFolder, Result, _captured


class Shaped:
    """A finished project of a shape in `folder`, in a repository with shared code and data beside it."""

    def __init__(self, shape: Shape, project: ProjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shape, self.project, self.folder = shape, project, project.folder
        self.repository, self.monkeypatch = project.folder.parent, monkeypatch
        self.train = self.folder / shape.folders["train"]
        monkeypatch.setenv("LEVEL", "1")
        # However busy the machine is, nothing is dear but what `took` says to be.
        monkeypatch.setenv("MLFLOW_PHASES_ASK_ABOVE", "1000")
        monkeypatch.setenv("DATA", str(self.repository / "data_root"))
        monkeypatch.setenv("PYTHONPATH", f"{self.train / 'lib'}{os.pathsep}{self.train / 'site-packages'}")
        self._lay_around()

    def _lay_around(self) -> None:
        (self.repository / ".git").mkdir(exist_ok=True)
        self.write(self.repository, {"common/shared.py": "WIDTH = 1\n", "outside/up.csv": "1"})
        self.write(self.repository, {"data_root/rooted.csv": "1"})
        self.write(elsewhere(), {f"{self.shape.name}.csv": "1"})

    @staticmethod
    def write(folder: Path, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    # --- the project ---

    def lay(self) -> "Shaped":
        """Write the project, its models and its data, before anything has run."""
        self.project.write({**self.shape.mlprojects(), **self.shape.files})
        self.write(self.train, {"where.txt": str(elsewhere() / f"{self.shape.name}.csv")})
        (self.train / "ready").chmod(0o755)
        if not self.shape.light:
            self.install("1.0")
            self.make_native(1)
            self._register()
        return self

    def install(self, version: str) -> None:
        """Install a version of a package that `train` imports."""
        site = self.train / "site-packages"
        for outdated in site.glob("*.dist-info/*"):
            outdated.unlink()
            if not any(outdated.parent.iterdir()):
                outdated.parent.rmdir()
        info = f"ownlib-{version}.dist-info"
        files = {"METADATA": f"Metadata-Version: 2.1\nName: ownlib\nVersion: {version}\n", "top_level.txt": "ownlib\n"}
        self.write(site / info, {**files, "RECORD": "ownlib.py,,\n"})
        self.write(site, {"ownlib.py": "VALUE = 1\n"})

    def make_native(self, value: int, *only: str) -> None:
        """Write the files that native libraries read for `baseline`."""
        import h5py
        import numpy
        import pandas
        import pyarrow.parquet

        folder = self.folder / self.shape.folders["baseline"] / "native"
        folder.mkdir(exist_ok=True)
        for name in only or ("rows.csv", "rows.parquet", "rows.h5", "rows.npy", "rows.db"):
            path = folder / name
            path.unlink(missing_ok=True)
            match path.suffix:
                case ".csv":
                    pandas.DataFrame({"a": [value]}).to_csv(path)
                case ".parquet":
                    pyarrow.parquet.write_table(pyarrow.table({"a": [value]}), path)
                case ".h5":
                    with h5py.File(path, "w") as file:
                        file["a"] = [value]
                case ".npy":
                    numpy.save(path, [value])
                case ".db":
                    with sqlite3.connect(path) as connection:
                        connection.execute(f"create table rows as select {value} as a")
                    connection.close()

    def _register(self) -> None:
        self.project.client.create_registered_model("m")
        for version in ("1", "2"):
            self.register(version)
        self.project.client.set_registered_model_alias("m", "champion", "1")

    def register(self, version: str) -> None:
        """Add a version to the model that `baseline` uses."""
        self.write(elsewhere() / "models" / version, {"weights.txt": version})
        self.project.client.create_model_version("m", str(elsewhere() / "models" / version))

    def build(self, _: object = None) -> None:
        """Lay the project and run it once."""
        self.lay()
        with nullcontext("") if self.shape.light else _web() as address:
            self.write(self.train, {"address.txt": address})
            done = self.run()
        assert done.exit_code == 0, done.text
        assert sorted(self.executed()) == sorted([*(["main"] if self.shape.calls else []), *STEPS])

    def finished(self) -> "Shaped":
        """Bring the project to the state after its first run."""
        self.project.prepare(f"shape_{self.shape.name}_{self.shape.light}", self.build)
        return self

    def path(self, step: str, name: str) -> Path:
        return self.folder / self.shape.folders[step] / name

    def put(self, step: str, name: str, text: str) -> None:
        self.write(self.folder / self.shape.folders[step], {name: text})

    def declare(self, step: str, **phase: object) -> None:
        """Change keys of a step's `phase:`; None takes one away."""
        folder, entry = self.shape.entry.get(step, ("", "main"))
        file = self.folder / folder / "MLproject"
        content = yaml.safe_load(file.read_text())
        keys = content["entry_points"][entry]["phase"]
        keys |= phase
        content["entry_points"][entry]["phase"] = {key: value for key, value in keys.items() if value is not None}
        file.write_text(yaml.safe_dump(content, sort_keys=False))

    def entry_point(self, step: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the entry point of a step."""
        folder, entry = self.shape.entry[step]
        file = self.folder / folder / "MLproject"
        content = yaml.safe_load(file.read_text())
        change(content["entry_points"][entry])
        file.write_text(yaml.safe_dump(content, sort_keys=False))

    def edit(self, step: str, name: str, old: str, new: str) -> None:
        self.project.edit(f"{self.shape.folders[step]}{name}", old, new)

    def move(self, folder: Path) -> None:
        """Go on in a copy of the project."""
        self.train = folder / self.train.relative_to(self.folder)
        self.folder = self.project.folder = folder
        self.monkeypatch.setenv("PYTHONPATH", f"{self.train / 'lib'}{os.pathsep}{self.train / 'site-packages'}")
        self.monkeypatch.chdir(folder)

    # --- running ---

    def run(self, step: str = "main", **given: object) -> Result:
        """Ask for the whole project, or a step alone, with `-b phases` in this process."""
        folder, entry = self.shape.entry.get(step, ("", "main"))
        code = 0
        with _captured() as output:
            try:
                mlflow.projects.run(
                    str(self.folder / folder), entry, parameters=given, backend="phases", env_manager="local"
                )
            except PhaseError as error:
                print(f"mlflow-phases: {error}")
                code = error.exit_code
        return Result(code, "".join(output))

    def run_quietly(self, **given: object) -> None:
        """Ask for the whole project, from a thread: nothing is captured."""
        mlflow.projects.run(
            str(self.folder), "main", parameters=given, backend="phases", env_manager="local", experiment_id="0"
        )

    def executed(self) -> list[str]:
        return self.project.executed()

    def plan(self, **given: object) -> str:
        words = [word for name, value in given.items() for word in ("-P", f"{name}={value}")]
        return self.project.cli("plan", "main", *words).text

    # --- what came of it ---

    def runs(self, step: str) -> list[Run]:
        """Return the runs of a step, the newest first."""
        named = (self.shape.name, step) if not self.shape.folders[step] else (step, "main")
        tags = ("phase.project", "phase.name")
        return [run for run in self.project.runs() if tuple(run.data.tags.get(tag) for tag in tags) == named]

    def took(self, step: str, minutes: float, usd: float = 0.16) -> None:
        """Let the run that counts for a step have taken long."""
        self.monkeypatch.setenv("MLFLOW_PHASES_ASK_ABOVE", "500")
        run_id = self.counting(step).info.run_id
        self.project.client.log_metric(run_id, "phase.duration_seconds", minutes * 60, step=1)
        self.project.client.log_metric(run_id, "phase.cost_usd", usd, step=1)

    def counting(self, step: str) -> Run:
        """Return the run whose outputs count for the newest run of a step."""
        run = self.runs(step)[0]
        return self.project.client.get_run(run.data.tags.get("phase.reused_run_id", run.info.run_id))

    def stored(self, step: str, run: Run | None = None) -> Path:
        """Return the stored result of a step: of the run that counts, or of another."""
        artifacts = Path((run or self.counting(step)).info.artifact_uri.removeprefix("file://"))
        left = self.shape.result.get(step, "").removeprefix(self.shape.folders[step])
        logged = {"prepare": "prepared/prepared.txt", "train": "model.txt"}.get(step, f"{step}.txt")
        logged = "evaluated.txt" if step == "evaluate" else logged
        return artifacts / "project_files" / left if left else artifacts / logged

    def evaluated(self) -> str:
        """Return the evaluation that counts; where it lies in the project too, both must be the same."""
        text = self.stored("evaluate").read_text()
        if place := self.shape.result.get("evaluate"):
            assert (self.folder / place).read_text() == text
        return text


@contextmanager
def _web() -> Iterator[str]:
    """A web address of this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/rate"
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"one")

    def log_message(self, *_: object) -> None:
        pass
