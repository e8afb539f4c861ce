"""`state.json`: whole at any moment, and as its schema says."""

import json
import os
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from mlflow_plugin.cli import main
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.reports.files import write_whole
from mlflow_plugin.reports.models import PipelineState
from mlflow_plugin.reports.state_file import SCHEMA_FILE, state_text
from mlflow_plugin.reports.state_schema import schema_text
from mlflow_plugin.reports.views.pipeline import pipeline_view

DOCS = Path(__file__).resolve().parents[3] / "docs" / "reports.md"


def keys_of(value, path=""):
    """Every key in nested JSON, with where it is; keys that are data count as one."""
    if isinstance(value, list):
        return {key for one in value for key in keys_of(one, path + "[]")}
    if isinstance(value, dict):
        return {f"{path}.{key}" for key in value} | {
            found for key, one in value.items() for found in keys_of(one, f"{path}.{key}")
        }
    return set()


def check(history):
    written = json.loads(state_text(pipeline_view(history)))
    # Nothing is missing, nothing of another kind, and nothing there that the schema does not know.
    assert keys_of(PipelineState.model_validate(written).to_json()) == keys_of(written)
    return {one["phase"]: one["state"] for one in written["phases"]}


def test_the_state_fits_its_schema_in_every_state_of_the_phases(demo, ask_always):
    assert check(demo.history()) == {"collect": "missing", "train": "missing", "evaluate": "missing"}
    demo.compute("collect")
    demo.compute("train", metrics={"fidelity": 0.8, "held_out": 0.9})
    demo.compute("evaluate")
    assert check(demo.history()) == {"collect": "up to date", "train": "borderline", "evaluate": "up to date"}
    demo.compute("collect", "other bytes", seed=1)
    with pytest.raises(PhaseError):
        demo.settle("train")  # It asks, and nobody answers.
    demo.start("evaluate")
    assert check(demo.history()) == {"collect": "up to date", "train": "stale", "evaluate": "running"}
    run_id = demo.compute("train", metrics={"held_out": float("nan")})
    assert check(demo.history())["train"] != "up to date"
    demo.records.quarantine(run_id, 'wrong "labels"')
    check(demo.history())


def test_the_schema_that_is_installed_is_the_one_of_the_code():
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text()


def test_the_documentation_explains_each_field_as_the_schema_does():
    schema = json.loads(schema_text())
    about = {name: one["description"] for name, one in schema["$defs"].items()}
    expected = []
    for name, one in {"PipelineState": schema, **schema["$defs"]}.items():
        rows = [
            f"| `{field}` | {content.get('description') or about[content['$ref'].rpartition('/')[2]]} |"
            for field, content in one["properties"].items()
        ]
        expected.append(
            "\n".join([f"### {name}", "", one["description"], "", "| field | meaning |", "|---|---|", *rows])
        )
    page = DOCS.read_text(encoding="utf-8") + "\n"
    assert len(expected) > 10
    assert not [section for section in expected if f"{section}\n" not in page]


def test_the_command_writes_the_state_or_prints_it(demo, tmp_path):
    file = tmp_path / "state.json"
    told = CliRunner().invoke(main, ["state", "--project", str(demo.folder), "--output", str(file)])
    assert (told.exit_code, told.output) == (0, f"{file} written\n")
    printed = CliRunner().invoke(main, ["state", "--project", str(demo.folder), "--output", "-"])
    assert json.loads(printed.output)["phases"] == json.loads(file.read_text(encoding="utf-8"))["phases"]
    nowhere = CliRunner().invoke(main, ["state", "--project", str(demo.folder), "--output", str(tmp_path / "no" / "x")])
    assert (nowhere.exit_code, "Name another place with --output" in nowhere.output) == (1, True)


def test_a_reader_finds_a_file_whole_while_it_is_written(tmp_path):
    file = tmp_path / "state.json"
    file.write_text("0" * 100_000)
    file.chmod(0o640)
    ended = threading.Event()

    def write():
        for digit in "123456789" * 5:
            write_whole(file, digit * 100_000)
        ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not ended.is_set():
        content = file.read_text()
        assert (len(content), len(set(content))) == (100_000, 1)
        seen.add(content[0])
    writer.join()
    assert len(seen) > 1
    assert os.listdir(tmp_path) == ["state.json"]
    assert file.stat().st_mode & 0o777 == 0o640
