"""Scripts that would load a quantised base are found by what they do, not by words in them."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from lora_retraining.checks.scripts import check_scripts, quantised_code, scripts_of

ROOT = Path(__file__).resolve().parents[4]


def complaints(folder: Path, source: str) -> list[str]:
    file = folder / "script.py"
    file.write_text(source)
    return [what for _, what in quantised_code(file)]


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("load(x, load_in_4bit=True)", "sets load_in_4bit=True"),
        ("load(\n  x,\n  load_in_8bit\n  =\n  not False)", "sets load_in_8bit=not False"),
        ("load(x, load_in_4bit=arguments.small)", "sets load_in_4bit=arguments.small"),
        ("options = {'load_in_4bit': True}", "sets load_in_4bit=True"),
        ("options['load_in_4bit'] = 1", "sets load_in_4bit=1"),
        ("config.load_in_8bit = True", "sets load_in_8bit=True"),
        ("setattr(config, 'load_in_4bit', True)", "sets load_in_4bit=True"),
        ("options.setdefault('load_in_4bit', True)", "sets load_in_4bit=True"),
        ("M.from_pretrained(f'unsloth/{name}')", "names f'unsloth/{name}'"),
        ("M.from_pretrained(f'{owner}/llama-8B-{bits}-bnb-4bit')", "names f'{owner}/llama-8B-{bits}-bnb-4bit'"),
        ("load_in_4bit: bool = True", "sets load_in_4bit=True"),
        ("from transformers import BitsAndBytesConfig", "imports BitsAndBytesConfig"),
        ("import transformers as t\nt.GPTQConfig(4)", "uses GPTQConfig"),
        ("getattr(transformers, 'AwqConfig')", "uses AwqConfig"),
        ("import unsloth", "imports unsloth"),
        ("from unsloth.models import x", "imports unsloth.models"),
        ("def f():\n  import bitsandbytes as b", "imports bitsandbytes"),
        ("from optimum import quanto", "imports optimum.quanto"),
        ("importlib.import_module('auto_gptq')", "imports auto_gptq"),
        ("peft.prepare_model_for_kbit_training(m)", "uses prepare_model_for_kbit_training"),
        ("m = 'unsloth/meta-llama-3.1-8b-instruct-bnb-4bit'", "names 'unsloth/meta-llama-3.1-8b-instruct-bnb-4bit'"),
        ("MODEL = 'Llama-3.1-8B-AWQ'", "names 'Llama-3.1-8B-AWQ'"),
        ("M.from_pretrained(x, torch_dtype=torch.int8)", "loads with torch_dtype=torch.int8"),
        ("M.from_pretrained(x, dtype='float8_e4m3fn')", "loads with dtype=float8_e4m3fn"),
        ("M.from_pretrained(x, quantization_config=q)", "loads with quantization_config=q"),
    ],
)
def test_what_loads_quantised_weights_is_found(tmp_path: Path, source: str, seen: str) -> None:
    assert seen in complaints(tmp_path, source)


@pytest.mark.parametrize(
    "source",
    [
        '"""Never load_in_4bit=True, never unsloth/x-bnb-4bit."""',
        "# load_in_4bit=True\nx = 1",
        "load(x, load_in_4bit=False)",
        "load(x, load_in_8bit=None)",
        "setattr(config, 'load_in_4bit', False)",
        "print(f'{name} is not gptq or awq, it is {dtype}')",
        "options = {'load_in_4bit': False}",
        "M.from_pretrained(x, dtype=torch.bfloat16, quantization_config=None)",
        "M.from_pretrained(x, quantization_config=GgufConfig(dequantize=True))",
        "numpy.zeros(3, dtype=numpy.int8)",
        "words = ('bnb', 'gptq', 'awq', '4bit', 'load_in_4bit')",
        "print('loading in 4bit is not allowed here, use float32')",
        "model = 'meta-llama/Llama-3.1-8B-Instruct'",
        "import awareness",
    ],
)
def test_what_only_speaks_of_it_is_no_alarm(tmp_path: Path, source: str) -> None:
    assert complaints(tmp_path, source) == []


def test_the_scripts_of_this_very_project_pass() -> None:
    found = check_scripts(ROOT / "projects" / "lora_retraining")
    assert found.status == "pass", found.detail


def test_scripts_are_followed_through_their_imports_and_no_further(tmp_path: Path) -> None:
    (tmp_path / "MLproject").write_text(
        "name: p\nentry_points:\n  train:\n    command: python -m work.train\n    phase: {}\n"
    )
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "train.py").write_text("from work import loading\n")
    (tmp_path / "work" / "loading.py").write_text("x = 1\nmodel = load(name, load_in_4bit=True)\n")
    (tmp_path / "work" / "old.py").write_text("import unsloth\n")
    found = check_scripts(tmp_path)
    assert (found.status, "1 places" in found.detail) == ("fail", True)
    assert "work/loading.py:2 sets load_in_4bit=True" in found.detail


def test_without_an_mlproject_file_all_scripts_of_the_folder_count(tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text("import unsloth\n")
    (tmp_path / "broken.py").write_text("def (:\n")
    assert "old.py:1 imports unsloth" in check_scripts(tmp_path).detail


@pytest.mark.parametrize(
    ("name", "content", "seen"),
    [
        ("conf/train.yaml", "model:\n  load_in_4bit: true\n", "sets load_in_4bit: True"),
        ("train.json", '{"loading": [{"quantization_config": {"bits": 4}}]}', "sets quantization_config: {'bits': 4}"),
        ("axolotl.yml", "base_model: x/y\nadapter: qlora\n", "sets adapter: qlora"),
        ("train.yaml", "base_model: unsloth/llama-3-8b-bnb-4bit\n", "names 'unsloth/llama-3-8b-bnb-4bit'"),
        ("run.sh", "# no --load_in_8bit\npython train.py --load_in_4bit True\n", "passes --load_in_4bit"),
        ("MLproject", "name: p\nentry_points: {a: {command: python x.py --load-in-4bit}}\n", "passes --load-in-4bit"),
    ],
)
def test_configuration_files_that_ask_for_quantised_weights_are_found(
    tmp_path: Path, name: str, content: str, seen: str
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(content)
    assert f"{name} {seen}" in check_scripts(tmp_path).detail


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.yaml", "load_in_4bit: false\nquantization_config: null\nmodel: Qwen/Qwen2.5-7B-Instruct\n"),
        ("train.json", '{"load_in_8bit": "no", "note": "never gptq, awq or 4bit", "dtype": "int64"}'),
        (
            "MLproject",
            "name: p\nentry_points: {a: {parameters: {load_in_4bit: {default: 'false'}},"
            " command: 'python x.py --load_in_4bit {load_in_4bit}'}}\n",
        ),
        ("run.sh", "# --load_in_4bit\npython train.py --load_in_4bit=false\n"),
        ("broken.yaml", "load_in_4bit: [true\n"),
        (".cache/train.yaml", "load_in_4bit: true\n"),
    ],
)
def test_configuration_files_that_ask_for_nothing_quantised_are_no_alarm(
    tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(content)
    assert check_scripts(tmp_path).status == "pass"


def test_the_configuration_of_a_model_that_lies_in_the_project_is_left_to_the_check_of_the_base(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"quantization_config": {"quant_method": "gptq"}}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert check_scripts(tmp_path).status == "pass"


def test_the_shared_package_is_no_script_of_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "MLproject").write_text("name: p\nentry_points:\n  train: {command: python train.py, phase: {}}\n")
    reached = {"train.py": "", "../common/projects_common/downloads.py": "", "../mine/load.py": ""}
    monkeypatch.setattr(
        "lora_retraining.checks.scripts.code_digest", lambda *_: SimpleNamespace(files=reached, elsewhere={})
    )

    assert [str(file.relative_to(tmp_path)) for file in scripts_of(tmp_path)] == ["../mine/load.py", "train.py"]
