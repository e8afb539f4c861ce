"""Files that a phase leaves in the project: put back, found right, and uploaded, against copying the same files.

python -m benchmarks.project_files [--files 10000] [--megabytes 1000] [--rounds 5] [--link hard]

All ways take turns, round after round, and the fastest of each counts: writes of one reach the disk while another is
measured.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.limits import Limit
from benchmarks.timing import Timing, heading, row
from mlflow_plugin.execution.project_files import ProjectFiles
from mlflow_plugin.project.digests import flush
from mlflow_plugin.project.mlproject import load_project
from mlflow_plugin.store.history import History
from mlflow_plugin.testing import SimulatedProject, temporary_store

PUT_BACK, UPLOAD, RIGHT_SECONDS = 1.5, 1.3, 0.5
OLD_ENOUGH = 2.5
PER_FOLDER = 100
MLPROJECT = """\
name: bench
entry_points:
  prepare:
    command: "python prepare.py"
    phase: {outputs: [data/processed]%s}
"""


def write_files(folder: Path, files: int, size: int) -> None:
    """Write so many files of random bytes into sub-folders of a hundred."""
    for number in range(files):
        path = folder / f"part_{number // PER_FOLDER:03d}" / f"{number:06d}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))


def copy(source: Path, target: Path) -> None:
    """Copy a folder as the yardstick does."""
    reflink = ["--reflink=auto"] if os.uname().sysname == "Linux" else []
    subprocess.run(["cp", "-r", *reflink, str(source), str(target)], check=True)


def hash_all(folder: Path) -> None:
    """Read and hash every file below a folder."""
    for where, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(where, name), "rb") as file:
                hashlib.file_digest(file, "sha256")


class Measured:
    """A project whose one phase leaves many files, and its store."""

    def __init__(self, folder: Path, files: int, size: int, link: str) -> None:
        self.folder, self.beside = folder / "project", folder / "beside"
        self.folder.mkdir()
        (self.folder / "MLproject").write_text(MLPROJECT % (", link: hard" if link == "hard" else ""))
        (self.folder / "prepare.py").write_text("print(1)\n")
        self.data = self.folder / "data" / "processed"
        write_files(self.data, files, size)
        self.simulated = SimulatedProject(self.folder)
        self.run_id = self.simulated.compute("prepare", {})
        # Files that were changed within the last two seconds are never remembered as unchanged.
        time.sleep(OLD_ENOUGH)

    def put_back(self) -> None:
        """Do what `mlflow-phases checkout` does, in this process."""
        project = load_project(self.folder)
        history = History(self.simulated.client, "0", project)
        phase = project.phase("prepare")
        run = history.latest(phase)
        assert run
        assert run.run_id == self.run_id
        assert ProjectFiles(history, project).restore(phase, run)

    def stored(self) -> Path:
        run = self.simulated.client.get_run(self.run_id)
        return Path(run.info.artifact_uri) / "project_files" / "data" / "processed"

    def upload(self) -> Callable[[], None]:
        """Start a run; return what completes it, with the upload of its files."""
        run_id, decision = self.simulated.start("prepare")
        return lambda: self.simulated.finish(run_id, decision, {}, {}, 60.0)

    def forget_other_runs(self) -> None:
        """Delete the files of the runs that were made to be measured, and their runs."""
        for run in self.simulated.client.search_runs(["0"]):
            if run.info.run_id != self.run_id:
                shutil.rmtree(Path(run.info.artifact_uri), ignore_errors=True)
                self.simulated.client.delete_run(run.info.run_id)


def seconds_of(case: Callable[[], object]) -> float:
    began = time.perf_counter()
    case()
    return time.perf_counter() - began


def measure(measured: Measured, rounds: int) -> dict[str, Timing]:
    """Time all ways once a round, after a first round that does not count."""
    taken: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        seconds = {"copy": seconds_of(lambda: copy(measured.stored(), measured.beside))}
        shutil.rmtree(measured.beside)
        shutil.rmtree(measured.folder / "data")
        seconds["put back"] = seconds_of(measured.put_back)
        seconds["right"] = seconds_of(measured.put_back)
        time.sleep(OLD_ENOUGH)

        def copy_and_hash() -> None:
            copy(measured.data, measured.beside)
            hash_all(measured.beside)

        seconds["copy and hash"] = seconds_of(copy_and_hash)
        shutil.rmtree(measured.beside)
        finish = measured.upload()
        seconds["upload"] = seconds_of(finish)
        measured.forget_other_runs()
        said = ", ".join(f"{name} {one:.2f} s" for name, one in seconds.items())
        print(f"round {number + 1} of {rounds + 1}: {said}", file=sys.stderr, flush=True)
        if number:
            for name, one in seconds.items():
                taken.setdefault(name, []).append(one)
    return {name: Timing(tuple(each)) for name, each in taken.items()}


def table(found: dict[str, Timing]) -> str:
    """Return the figures as Markdown."""
    seconds = {name: timing.fastest for name, timing in found.items()}
    back = Limit("put back / cp -r --reflink=auto", seconds["put back"] / seconds["copy"], PUT_BACK)
    right = Limit("looked at, nothing to put back", seconds["right"], RIGHT_SECONDS, " s")
    sent = Limit("uploaded / copied and hashed", seconds["upload"] / seconds["copy and hash"], UPLOAD)
    return "\n".join(
        [
            heading("way", "fastest s", "yardstick", "its fastest s", "ratio", "limit"),
            row("put back", f"{seconds['put back']:.2f}", "cp", f"{seconds['copy']:.2f}", f"{back:.2f}", back.allowed),
            row("looked at, all right", f"{right:.2f}", "", "", "", right.allowed),
            row(
                "uploaded and verified",
                f"{seconds['upload']:.2f}",
                "cp, then sha256",
                f"{seconds['copy and hash']:.2f}",
                f"{sent:.2f}",
                sent.allowed,
            ),
        ]
    )


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--files", type=int, default=10_000)
    ask.add_argument("--megabytes", type=int, default=1000)
    ask.add_argument("--rounds", type=int, default=5)
    ask.add_argument("--link", choices=("copy", "hard"), default="copy")
    options = ask.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["XDG_CACHE_HOME"] = str(Path(temporary) / "cache")
        with temporary_store(Path(temporary) / "store"):
            size = options.megabytes * 1_000_000 // options.files
            found = measure(Measured(Path(temporary), options.files, size, options.link), options.rounds)
        flush()
    print(f"### {options.files:,} files, {options.megabytes:,} MB, that a phase leaves in the project\n")
    print(table(found))


if __name__ == "__main__":
    main()
