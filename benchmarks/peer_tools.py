"""The tools to compare with: how each is installed and runs the four phases in `benchmarks/peers/<name>`."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlflow.tracking import MlflowClient

from benchmarks.timing import command

PIPELINES = Path(__file__).parent / "peers"
ENVIRONMENTS = Path(__file__).parents[1] / ".cache" / "peers"
QUIET = {"DO_NOT_TRACK": "1", "DVC_NO_ANALYTICS": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}

REQUIREMENTS = {
    "dvc": "dvc==3.67.1",
    "snakemake": "snakemake==9.27.1",
    # Later versions of FastAPI refuse an argument that this server gives.
    "prefect": "prefect==3.8.8 fastapi==0.148.0",
    "redun": "redun==0.44.1",
    "metaflow": "metaflow==2.19.39",
    "hamilton": "apache-hamilton==1.90.0",
}


@dataclass(frozen=True)
class Tool:
    """One tool. `finish` brings the pipeline up to date and `force` computes `draw` again whatever is there; `{factor}`
    stands for the parameter. `first` is the first run and `consent` the answer to a question, where there are such.
    `scaled` finds the stored output of phase `scale`. `decisions` are the commands that find out that nothing is to be
    done, each with its name in warm.py. Without a requirement the tool is the plugin, in this environment.
    """

    name: str
    requirement: str
    finish: str
    force: str
    source: str
    scaled: Callable[[Path], Path]
    decisions: Mapping[str, str] = field(default_factory=dict)
    setup: tuple[str, ...] = ()
    first: str = ""
    consent: str = ""
    report: Callable[[Path], Path] = lambda home: home / "report.txt"


def newest_task_result(home: Path) -> Path:
    """Prefect: one file for each task, in the order of the phases."""
    return sorted((home / "results").iterdir(), key=lambda path: path.stat().st_mtime_ns)[1]


def newest_blob(home: Path) -> Path:
    """Metaflow: the file that holds `self.scaled` of the newest run."""
    flow = home / ".metaflow" / "Peers"
    newest = max((path for path in flow.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    digest = json.loads(next(newest.glob("scale/*/0.data.json")).read_text())["objects"]["scaled"]
    return flow / "data" / digest[:2] / digest


def newest_artifact(home: Path, phase: str, name: str) -> Path:
    """The plugin: an output of the run that counts for a phase."""
    client = MlflowClient(f"sqlite:///{home}/store.db")
    wanted, newest_first = f"tags.`mlflow.project.entryPoint` = '{phase}'", ["attributes.start_time DESC"]
    run = client.search_runs(["0"], wanted, max_results=1, order_by=newest_first)[0]
    source = client.get_run(run.data.tags.get("phase.reused_run_id", run.info.run_id))
    return Path(str(source.info.artifact_uri)) / "outputs" / name


TOOLS = (
    Tool(
        "dvc",
        REQUIREMENTS["dvc"],
        "dvc repro",
        "dvc repro --force --single-item draw",
        "scale.py",
        lambda home: home / "scaled.json",
        {"dvc repro": "dvc repro", "dvc status": "dvc status"},
        setup=("git init --quiet", "dvc init --quiet", "dvc config core.check_update false"),
    ),
    Tool(
        "redun",
        REQUIREMENTS["redun"],
        "redun run workflow.py main --factor {factor}",
        "redun run workflow.py main --factor {factor} --fresh True",
        "workflow.py",
        lambda home: home / "scaled.json",
        {"redun run workflow.py main --factor 2": "redun"},
    ),
    Tool(
        "prefect",
        REQUIREMENTS["prefect"],
        "python flow.py {factor}",
        "python flow.py {factor} fresh",
        "flow.py",
        newest_task_result,
        {"python flow.py 2": "prefect"},
    ),
    Tool(
        "metaflow",
        REQUIREMENTS["metaflow"],
        "python flow.py resume",
        "python flow.py resume start",
        "flow.py",
        newest_blob,
        {"python flow.py resume": ""},
        first="python flow.py run --factor {factor}",
    ),
    Tool(
        "mlflow-phases",
        "",
        "mlflow run . -e main -b phases --env-manager local -P factor={factor}",
        "mlflow run . -e draw -b phases --env-manager local -P decide=rerun",
        "scale.py",
        lambda home: newest_artifact(home, "scale", "scaled.json"),
        consent=" -P decide=rerun",
        report=lambda home: newest_artifact(home, "report", "report.txt"),
    ),
)


def programs(name: str) -> Path:
    """The folder of a tool's programs. Installs the tool into an environment of its own on first use.

    Without a requirement the tool is the plugin, in this environment.
    """
    requirement = REQUIREMENTS.get(name, "")
    if not requirement:
        return Path(sys.executable).parent
    home = ENVIRONMENTS / f"venv-{name}"
    installed = home / f"installed-{requirement.replace(' ', '-')}"
    if not installed.exists():
        print(f"installing {requirement}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        pip = [home / "bin" / "python", "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, *requirement.split()], check=True)
        installed.touch()
    return home / "bin"


def environment(tool: Tool, home: Path) -> dict[str, str]:
    """The variables under which a tool's commands run in a pipeline's folder."""
    return {
        **QUIET,
        "PATH": f"{programs(tool.name)}:{os.environ['PATH']}",
        "WITNESS": str(home / "executed.txt"),
        "DVC_SITE_CACHE_DIR": str(home / "site"),
        "METAFLOW_USER": "bench",
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_LOCAL_STORAGE_PATH": str(home / "results"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{home}/store.db",
    }


def execute(tool: Tool, home: Path, words: str) -> None:
    """Runs a command of a tool's. Raises RuntimeError with its output when it fails."""
    command(words.split(), home, **environment(tool, home))()


def executed(home: Path) -> list[str]:
    """The phases that executed since this was last asked."""
    witness = home / "executed.txt"
    phases = witness.read_text().split() if witness.exists() else []
    witness.unlink(missing_ok=True)
    return phases


def finished_pipeline(tool: Tool, home: Path) -> None:
    """Lays a tool's pipeline into a new folder and runs all of its phases once."""
    for source in (PIPELINES / tool.name, PIPELINES / "shared"):
        shutil.copytree(source, home, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    for words in (*tool.setup, tool.first or tool.finish):
        execute(tool, home, words.format(factor=2))
    phases = executed(home)
    if phases != ["draw", "scale", "total", "report"]:
        raise RuntimeError(f"{tool.name} executed {phases}")


@contextlib.contextmanager
def prefect_server(folder: Path) -> Iterator[None]:
    """A Prefect server on this machine alone, kept running; everything started meanwhile finds it."""
    tool = next(tool for tool in TOOLS if tool.name == "prefect")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}/api"
    words = [str(programs(tool.name) / "prefect"), "server", "start", "--no-ui", "--host", "127.0.0.1"]
    folder.mkdir()
    variables = {**os.environ, **environment(tool, folder)}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    with open(folder / "server.log", "w") as log:
        port = address.split(":")[2].removesuffix("/api")
        server = subprocess.Popen([*words, "--port", port], env=variables, stdout=log, stderr=log)
    try:
        for _ in range(240):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/health", timeout=2)
                break
            if server.poll() is not None:
                raise RuntimeError(f"the Prefect server ended at once: {(folder / 'server.log').read_text()[-2000:]}")
            time.sleep(0.25)
        os.environ["PREFECT_API_URL"] = address
        yield
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:  # On a busy machine, or when it hangs.
            server.kill()
