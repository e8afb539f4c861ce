"""A tracking store with one finished four-phase pipeline among many thousands of other phase runs."""

import shutil
import sqlite3
import uuid
from dataclasses import replace
from pathlib import Path

from mlflow.tracking import MlflowClient

from mlflow_plugin.decision.request import Request
from mlflow_plugin.execution.completion import complete_work
from mlflow_plugin.execution.records import Records
from mlflow_plugin.execution.resolution import resolve_request
from mlflow_plugin.project.mlproject import load_project

MLPROJECT = """\
name: bench
entry_points:
  main:
    parameters: {decide: {type: string, default: ask}}
    pipeline: [phase4]
    command: "python -m mlflow_plugin.pipeline"
"""
PHASE = """\
  phase%d:
    parameters:
      epochs: {type: int, default: 100}
      lr: {type: float, default: 0.001}
      decide: {type: string, default: ask}
    command: "python phase%d.py --epochs {epochs} --lr {lr}"
    phase: {needs: [%s], quality: {metric: fidelity, good: 0.85, poor: 0.70}}
"""


def write_project(folder: Path) -> None:
    """Four phases in a row, each with a quality; plus `noop`, which declares nothing, to compare with."""
    folder.mkdir(parents=True, exist_ok=True)
    phases = "".join(PHASE % (n, n, f"phase{n - 1}" if n > 1 else "") for n in range(1, 5))
    (folder / "MLproject").write_text(f'{MLPROJECT}{phases}  noop:\n    command: "true"\n')
    (folder / "helper.py").write_text("def add(x):\n    return x + 1\n")
    for number in range(1, 5):
        (folder / f"phase{number}.py").write_text(f"import helper\n\nprint(helper.add({number}))\n")


def finish_pipeline(folder: Path, tracking_uri: str, experiment_id: str = "0") -> dict[str, str]:
    """Records the four phases as finished, as the backend does, without starting processes; phase -> run id."""
    project, client = load_project(folder), MlflowClient(tracking_uri)
    records, made = Records(client), {}
    for phase in project.order(project.phases):
        request = Request(project, phase, {}, client, experiment_id, base=folder)
        resolution = resolve_request(request, records, lambda request=request: records.create(request))  # type: ignore[misc]
        staged = folder / "staged"
        staged.mkdir()
        (staged / "result.json").write_text(f'"{phase.name}"')
        records.metrics(resolution.run_id, {"fidelity": 0.989, **{f"metric{n}": float(n) for n in range(10)}})
        complete_work(records, resolution.run_id, replace(resolution.work()), 60.0, staged=staged)
        shutil.rmtree(staged)
        made[phase.name] = resolution.run_id
    return made


def add_other_runs(database: Path, runs: int, *, foreign: bool = False) -> None:
    """Copies the finished runs until there are `runs`, each with an identity and inputs of its own, started earlier.

    Foreign ones say nothing of phases, as those of other projects in the same experiment, and are the newest.
    """
    db = sqlite3.connect(database)
    db.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-500000;")
    originals = [row[0] for row in db.execute("select run_uuid from runs order by start_time")]
    rows = {table: {run: _rows(db, table, run) for run in originals} for table in _TABLES}
    for start in range(0, runs - len(originals), 4000):
        batch: dict[str, list[tuple[object, ...]]] = {table: [] for table in _TABLES}
        for number in range(start, min(start + 4000, runs - len(originals))):
            original, copy = originals[number % len(originals)], uuid.uuid4().hex
            for table in _TABLES:
                kept = [row for row in rows[table][original] if not (foreign and _of_phases(table, row))]
                batch[table] += [_copied(table, row, original, copy, -number if foreign else number) for row in kept]
        for table, values in batch.items():
            if values:
                db.executemany(f"insert into {table} values ({','.join('?' * len(values[0]))})", values)
        db.commit()
    db.execute("analyze")
    db.close()


_TABLES = ("runs", "tags", "params", "metrics", "latest_metrics")


def _rows(db: sqlite3.Connection, table: str, run: str) -> list[dict[str, object]]:
    cursor = db.execute(f"select * from {table} where run_uuid = ?", (run,))
    columns = [column[0] for column in cursor.description]
    return [dict(zip(columns, row, strict=True)) for row in cursor]


def _of_phases(table: str, row: dict[str, object]) -> bool:
    return table == "tags" and str(row["key"]).startswith(("phase.", "mlflow.phase."))


def _copied(table: str, row: dict[str, object], original: str, copy: str, number: int) -> tuple[object, ...]:
    changed = {**row, "run_uuid": copy}
    if table == "runs":
        changed["start_time"] = int(str(row["start_time"])) - 60_000 * (number + 1)
    if table == "tags" and str(row["key"]).startswith(("mlflow.phase.identity.", "mlflow.phase.config.")):
        changed["key"] = f"{row['key']}"[:-32] + copy
    if table == "tags" and str(row["key"]).startswith("mlflow.phase.input."):
        changed["key"] = "mlflow.phase.input." + copy
    return tuple(changed.values())
