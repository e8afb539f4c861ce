"""The pages under docs/ stay true: their examples run, and what they list is what there is."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from mlflow_plugin.decision.rules import RULES
from mlflow_plugin.machine.prices import PACKAGE_TABLE
from mlflow_plugin.project.mlproject import load_project
from mlflow_plugin.project.phase_keys import CheckpointKeys, PhaseKeys, QualityKeys
from mlflow_plugin.project.vocabulary import Kind
from mlflow_plugin.store import schema

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "mlflow_plugin"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', re.MULTILINE | re.DOTALL)


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def run_examples(page: str, folder: Path) -> int:
    """Write the titled blocks of a page as files, execute its Python in order; return how many blocks were executed."""
    seen, executed = {"__name__": page}, 0
    for language, title, content in BLOCK.findall(text_of(page)):
        if title:
            (folder / title).write_text(content, encoding="utf-8")
        elif language == "python":
            exec(compile(content, f"{page}, example {executed + 1}", "exec"), seen)
            executed += 1
    return executed


@pytest.mark.end_to_end
def test_the_examples_of_the_python_page_run(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", None)  # Nobody is there to answer, also where the tests run at a terminal.
    assert run_examples("python.md", tmp_path) == 6


def test_the_examples_of_the_cost_page_run(tmp_path: Path) -> None:
    assert run_examples("costs.md", tmp_path) == 1


@pytest.mark.end_to_end
def test_the_examples_of_the_checkpoint_page_run(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_examples("checkpoints.md", tmp_path) == 1


@pytest.mark.end_to_end
def test_the_example_of_the_trainer_page_runs(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_examples("trainer.md", tmp_path) == 1


def test_the_examples_of_the_guardrails_page_run(tmp_path: Path) -> None:
    assert run_examples("guardrails.md", tmp_path) == 1


def entry_points_of(block: str) -> dict[str, Any]:
    """Return the entry points of a file in which a block of the how-to page may stand."""
    content = yaml.safe_load(block)
    if "phase" in content:
        return {"train": {"command": "true", **content}}
    return {} if "roots" in content else content


def test_the_keys_of_the_how_to_page_are_taken_as_they_stand_there(tmp_path: Path) -> None:
    blocks = [content for language, _, content in BLOCK.findall(text_of("how_to.md")) if language == "yaml"]
    assert len(blocks) >= 5
    for block in blocks:
        whole = {"roots": {"data": "$DATA"}, "entry_points": entry_points_of(block)}
        (tmp_path / "MLproject").write_text(yaml.safe_dump(whole), encoding="utf-8")
        assert set(load_project(tmp_path).phases) >= {
            name for name, entry in whole["entry_points"].items() if "phase" in entry
        }


def test_the_cost_page_shows_the_price_table_of_the_package() -> None:
    table = json.loads(PACKAGE_TABLE.read_text(encoding="utf-8"))
    rows = [*table["gpus"], {"name": "one CPU core (no GPU)", **table["cpu_core"]}]
    expected = [f"| {row['name']} | {row['usd_per_hour']:g} | {row['source']} | {row['as_of']} |" for row in rows]
    shown = [line for line in text_of("costs.md").splitlines() if re.match(r"\| [^|]+ \| [\d.]+ \|", line)]
    assert shown == expected


def test_every_name_that_is_written_to_the_store_is_explained() -> None:
    page = text_of("verdicts.md")
    written = {name: value for name, value in vars(schema).items() if name.isupper() and isinstance(value, str)}
    assert len(written) > 30
    assert not {name: value for name, value in written.items() if f"`{value}" not in page}


def test_every_kind_of_verdict_and_every_rule_is_explained() -> None:
    page = text_of("verdicts.md")
    assert not {kind for kind in get_args(Kind) if f"`{kind}`" not in page}
    rules = page.partition("## What makes two runs the same")[0]
    numbered = {int(number) for number in re.findall(r"^\| (\d+) \|", rules, re.MULTILINE)}
    assert numbered == set(range(1, len(RULES) + 2))  # the last one is for when no rule speaks


@pytest.mark.parametrize("key", [*PhaseKeys.model_fields, *QualityKeys.model_fields, *CheckpointKeys.model_fields])
def test_every_key_of_a_phase_is_explained(key: str) -> None:
    assert f"`{key}`" in text_of("mlproject_keys.md")


def named_paths(page: Path) -> set[str]:
    """Return what a page names in backticks that looks like a file or folder of this repository."""
    names = re.findall(r"`([\w./-]+)`", page.read_text(encoding="utf-8"))
    folders = {child.name for child in ROOT.iterdir() if child.is_dir() and not child.name.startswith(".")}
    return {
        name
        for name in names
        if "/" in name and (name.partition("/")[0] in folders or re.fullmatch(r"[\w/]+\.py", name))
    }


@pytest.mark.parametrize(
    "page", [ROOT / "ARCHITECTURE.md", ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda page: page.name
)
def test_every_file_that_the_documentation_names_exists(page: Path) -> None:
    # The outputs of a run and the folders of its artifacts are no files of the repository, nor is what git ignores.
    of_a_run = ("outputs/", "mlruns/", "models/")
    names = {name for name in named_paths(page) if not name.startswith(of_a_run)}
    assert not {name for name in names if not (ROOT / name).exists() and not (PACKAGE / name).exists()}


def test_the_architecture_page_names_every_folder_and_root_module_of_the_package() -> None:
    folders = {f"{file.parent.name}/" for file in PACKAGE.glob("*/__init__.py")}
    modules = {file.name for file in PACKAGE.glob("*.py")} - {"__init__.py"}
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    table = page.partition("## Folders of")[2].partition("\n## ")[0]
    first_column = re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
    named = [name for cell in first_column for name in re.findall(r"`([\w/.]+)`", cell)]
    assert sorted(named) == sorted(folders | modules)


def test_a_newcomer_finds_where_things_are_in_the_architecture_page() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert len(page.splitlines()) <= 115
    for place in ("backends/phases.py", "checkpoints/writer.py", "decision/rules.py", "execution/resolution.py"):
        assert f"`{place}`" in page


def test_the_readme_can_be_read_in_an_afternoon() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150
