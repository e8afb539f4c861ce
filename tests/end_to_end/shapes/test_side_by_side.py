"""Independent phases of a pipeline are computed at the same time."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import yaml

from mlflow_plugin.errors import NeedsAnswer, PhaseError, UsageError
from mlflow_plugin.testing import TemporaryStore, temporary_store
from tests.servers.process import wait_until

pytestmark = pytest.mark.end_to_end

MEETING = """
import os
import sys
import time
from pathlib import Path

name, others = sys.argv[1], sys.argv[2:]
print(f"hello from {name}")
Path(f"began-{name}").touch()
deadline = time.monotonic() + 120
while not all(Path(f"began-{other}").exists() for other in others):
    if time.monotonic() > deadline:
        sys.exit(f"{name} is alone")
    time.sleep(0.02)
while Path("hold").exists():
    time.sleep(0.02)
if Path(f"fail-{name}").exists():
    sys.exit(1)
Path(f"result-{name}").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
"""


class Parallel:
    """A project of phases that wait for each other, so that they end only when they run at the same time."""

    def __init__(self, folder: Path, store: TemporaryStore) -> None:
        self.folder, self.store = folder, store
        (folder / "meet.py").write_text(MEETING)

    def declare(
        self, phases: dict[str, tuple[list[str], list[str]]], resources: object = None, **pipeline: object
    ) -> None:
        """Write the MLproject file. Each phase has its needs, and the phases that it waits for."""
        entries: dict[str, object] = {
            name: {
                "command": " ".join(["python meet.py", name, *others]),
                "phase": {
                    "needs": needs,
                    "outputs": [f"result-{name}"],
                    **({"resources": resources} if resources else {}),
                },
            }
            for name, (needs, others) in phases.items()
        }
        needed = {need for needs, _ in phases.values() for need in needs}
        entries["main"] = {"pipeline": [name for name in phases if name not in needed], **pipeline}
        (self.folder / "MLproject").write_text(yaml.safe_dump({"name": "parallel", "entry_points": entries}))

    def run(self, **config: object) -> None:
        mlflow.projects.run(str(self.folder), "main", backend="phases", backend_config=config, env_manager="local")

    def verdicts(self) -> dict[str, str]:
        return {
            run.data.tags["phase.name"]: run.data.tags.get("phase.verdict", run.info.status)
            for run in reversed(self.store.runs())
            if "phase.name" in run.data.tags
        }

    def results(self) -> dict[str, str]:
        return {path.name.removeprefix("result-"): path.read_text() for path in self.folder.glob("result-*")}


@pytest.fixture
def parallel(tmp_path: Path) -> Iterator[Parallel]:
    folder = tmp_path / "project"
    folder.mkdir()
    with temporary_store(tmp_path / "store") as store:
        yield Parallel(folder, store)


def test_independent_phases_run_at_the_same_time_and_a_later_one_waits_for_both(parallel: Parallel, capfd) -> None:
    parallel.declare({"a": ([], []), "b": (["a"], ["c"]), "c": (["a"], ["b"]), "d": (["b", "c"], [])}, jobs=2)
    parallel.run()
    assert set(parallel.results()) == {"a", "b", "c", "d"}
    printed = capfd.readouterr()
    assert "b | hello from b" in printed.err
    assert "c | hello from c" in printed.err
    run = parallel.store.runs("b")[0]
    assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/provenance/output.txt") == "hello from b\n"
    assert sorted(json.loads(run.data.tags["mlflow.phase.outputs"])["sizes"]) == ["project_files/result-b"]
    parallel.run()
    assert parallel.verdicts() == dict.fromkeys("abcd", "reuse")


def test_the_configuration_of_the_call_says_how_many(parallel: Parallel) -> None:
    parallel.declare({"a": ([], ["b"]), "b": ([], ["a"])})
    parallel.run(jobs=2)
    assert set(parallel.results()) == {"a", "b"}
    with pytest.raises(UsageError, match=r"`jobs` is 'many'\. Allowed: a whole number from 1"):
        parallel.run(jobs="many")


@pytest.mark.parametrize(("keep_going", "started"), [(True, {"b", "c"}), (False, {"b"})])
def test_one_that_fails_lets_the_others_finish_and_is_named(
    parallel: Parallel, keep_going: bool, started: set[str]
) -> None:
    parallel.declare(
        {"a": ([], ["b"]), "b": ([], ["a"]), "c": (["b"], []), "d": (["a"], [])}, jobs=2, keep_going=keep_going
    )
    (parallel.folder / "fail-a").touch()
    with pytest.raises(PhaseError, match=r"(?s)a: its command ended with exit code 1.*Not started: .*d \(after a\)"):
        parallel.run()
    assert set(parallel.results()) >= {"b"}
    assert set(parallel.results()) <= started
    assert keep_going is ("c" in parallel.results())


def test_questions_of_several_phases_are_put_together(parallel: Parallel, ask_always: None) -> None:
    parallel.declare({"a": ([], []), "b": ([], [])}, jobs=2)
    parallel.run()
    text = (parallel.folder / "meet.py").read_text()
    (parallel.folder / "meet.py").write_text(f"{text}\nprint('edited')\n")
    with pytest.raises(NeedsAnswer) as asked:
        parallel.run()
    assert "a: a decision is needed" in str(asked.value)
    assert "b: a decision is needed" in str(asked.value)


def test_ctrl_c_ends_all_in_order(parallel: Parallel) -> None:
    parallel.declare({"a": ([], ["b"]), "b": ([], ["a"])}, jobs=2)
    (parallel.folder / "hold").touch()
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    words = [sys.executable, "-m", "mlflow", "run", str(parallel.folder), "-b", "phases", "--env-manager", "local"]
    process = subprocess.Popen(words, env={**os.environ, "PATH": path}, start_new_session=True)
    wait_until(lambda: all((parallel.folder / f"began-{one}").exists() for one in "ab"), "both compute")
    process.send_signal(signal.SIGINT)
    assert process.wait(120) != 0
    ended = {run.data.tags["mlflow.project.entryPoint"]: run.info.status for run in parallel.store.runs()}
    assert ended == {"a": "KILLED", "b": "KILLED", "main": "KILLED"}
    time.sleep(0.5)
    assert not parallel.results()


def test_a_phase_that_needs_more_than_there_is_is_refused_before_anything_starts(parallel: Parallel) -> None:
    parallel.declare({"a": ([], []), "b": ([], [])}, resources={"memory": "900T"}, jobs=2)
    with pytest.raises(UsageError, match=r"a needs 921600 GiB of memory, and there are"):
        parallel.run()
    assert not parallel.results()


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"jobs": 0}, "key `jobs`: got 0. Allowed: a whole number from 1"),
        ({"jobs": "2"}, "key `jobs`: got '2'"),
        ({"keep_going": "yes"}, "key `keep_going`: got 'yes'. Allowed: true or false"),
    ],
)
def test_wrong_keys_of_a_pipeline_are_refused(parallel: Parallel, keys: dict, problem: str) -> None:
    parallel.declare({"a": ([], [])}, **keys)
    with pytest.raises(UsageError, match=problem):
        parallel.run()
