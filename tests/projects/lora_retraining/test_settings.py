"""settings.py: the meaning of `auto`, the values that are refused, and the MLproject file that passes them."""

import argparse
import importlib
import re

import pytest
import yaml
from lora_project import REAL
from lora_retraining.settings import PARAMETERS, PRESETS, PROJECTIONS, add_arguments, read_settings

from mlflow_plugin.errors import UsageError


def test_auto_is_the_value_of_the_preset_and_what_is_given_is_kept():
    chosen = read_settings({"preset": "tiny", "rank": "auto", "learning_rate": "2e-3", "limit": 7, "epochs": None})

    assert chosen.rank == PRESETS["tiny"].rank
    assert chosen.epochs == PRESETS["tiny"].epochs
    assert (chosen.learning_rate, chosen.limit) == (2e-3, 7)


def test_the_preset_for_llama_has_the_published_figures():
    llama = read_settings({"preset": "llama-3.1-8b"})

    assert (llama.rank, llama.alpha, llama.dropout, len(PROJECTIONS)) == (64, 16.0, 0.05, 7)
    assert (llama.learning_rate, llama.warmup_steps, llama.batch_size, llama.accumulation) == (2e-4, 100, 8, 4)
    assert [llama.samples_of(name) for name in ("gsm8k", "humaneval", "mbpp")] == [50, 25, 25]


def test_a_script_takes_only_the_parameters_that_it_declares():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-phase")
    add_arguments(parser, "preset", "learning_rate", "samples")

    given = parser.parse_args(
        ["--preset", "tiny", "--data-phase", "x", "--learning-rate", "1", "--samples", "gsm8k=3,2"]
    )
    chosen = read_settings(given)
    assert chosen.learning_rate == 1.0
    assert (chosen.samples_of("gsm8k"), chosen.samples_of("other")) == (3, 2)
    with pytest.raises(SystemExit):
        parser.parse_args(["--rank", "4"])
    assert "cpu, cuda" not in parser.format_help()


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("preset", "llama", "tiny, smollm2, llama-3.1-8b, qwen2.5-7b"),
        ("rank", "0", "a whole number from 1"),
        ("rank", "2.5", "a whole number from 1"),
        ("rank", "1e400", "a whole number from 1"),
        ("dropout", "1", "a number from 0 and below 1"),
        ("learning_rate", "nan", "a number above 0"),
        ("learning_rate", "quick", "a number above 0"),
        ("gradient_checkpointing", "perhaps", "true or false"),
        ("packing", "loose", "packed, grouped"),
        ("dtype", "float16", "auto, bfloat16, float32"),
        ("device", "gpu", "auto, cpu, cuda"),
        ("samples", "gsm8k=many", "a number from 0"),
        ("samples", "gsm8k=1,gsm8k=2", "a number from 0"),
        ("test_data", "none", "gsm8k, humaneval, mbpp"),
        ("test_data", "gsm8k,,mbpp", "with commas in between"),
        ("model", " ", "smollm2"),
        ("override", ",", "names of checks"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_what_may_stand_there(name, value, allowed):
    with pytest.raises(UsageError) as refused:
        read_settings({name: value})

    assert f"{name} = {value!r} is not possible" in str(refused.value)
    assert allowed in str(refused.value)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_value_of_a_preset_would_be_accepted_as_an_argument(preset):
    for name in PARAMETERS:
        value = getattr(PRESETS[preset], name)
        if name == "samples":
            value = ",".join(f"{dataset}={count}" if dataset else str(count) for dataset, count in value)
        elif isinstance(value, tuple):
            value = ",".join(value) or "none"
        assert getattr(read_settings({"preset": preset, name: str(value)}), name) == getattr(PRESETS[preset], name), (
            name
        )


def test_presets_are_named_after_themselves():
    assert all(values.preset == name for name, values in PRESETS.items())


def test_the_settings_need_no_torch():
    import subprocess
    import sys

    source = "import sys; import lora_retraining.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", source], cwd=REAL, check=False).returncode == 0


@pytest.mark.parametrize("preset", ["llama-3.1-8b", "qwen2.5-7b"])
def test_the_published_gates_hold_against_a_strong_reference_and_never_against_the_base(preset):
    against_base, against_strong = (
        read_settings({"preset": preset}),
        read_settings({"preset": preset, "reference": "gpt.jsonl"}),
    )
    assert {gate[:2] for gate in against_base.gates} == {("math", "gain"), ("code", "gain"), ("all", "baseline_ratio")}
    assert ("gsm8k", "ties", 0.60, 0.50) in against_strong.gates
    assert ("code", "wins", 0.40, 0.30) in against_strong.gates


def test_every_fault_of_a_command_line_is_listed_at_once():
    with pytest.raises(UsageError) as refused:
        read_settings({"rank": "0", "packing": "loose", "epochs": "2"})

    assert [line.partition(" = ")[0] for line in str(refused.value).splitlines()] == ["rank", "packing"]


ENTRY_POINTS = yaml.safe_load((REAL / "MLproject").read_text(encoding="utf-8"))["entry_points"]
PHASES = [name for name, entry in ENTRY_POINTS.items() if "phase" in entry]


@pytest.mark.parametrize("phase", PHASES)
def test_the_mlproject_file_passes_each_parameter_to_the_option_of_its_name(phase):
    entry = ENTRY_POINTS[phase]
    passed = dict(re.findall(r"--([\w-]+) \{(\w+)\}", entry["command"]))
    declared = {name: content["default"] for name, content in entry["parameters"].items() if name != "decide"}

    assert {option.replace("-", "_"): name for option, name in passed.items()} == {name: name for name in declared}
    defaults = {"preset": "smollm2", "override": "none"}
    assert declared == {name: defaults.get(name, "auto") for name in declared}
    script = importlib.import_module(re.search(r"-m ([\w.]+)", entry["command"])[1])
    assert declared.keys() <= set(script.PARAMETERS)


def test_the_script_of_a_phase_takes_no_parameter_that_no_entry_point_passes():
    passed: dict[str, set[str]] = {}
    for phase in PHASES:
        module = re.search(r"-m ([\w.]+)", ENTRY_POINTS[phase]["command"])[1]
        passed.setdefault(module, set()).update(ENTRY_POINTS[phase]["parameters"])

    for module, names in passed.items():
        assert set(importlib.import_module(module).PARAMETERS) == names - {"decide"}, module


def test_the_entry_point_of_the_whole_pipeline_has_every_parameter():
    assert ENTRY_POINTS["main"]["parameters"].keys() == {*PARAMETERS, "decide"}
