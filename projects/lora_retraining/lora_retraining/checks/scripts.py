"""Find code in the scripts that would load a quantised base.

It goes by syntax trees: comments, docstrings and `load_in_4bit=False` raise no alarm, and a keyword broken over lines
still does. A name that is put together only while a script runs cannot be seen.
"""

import ast
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lora_retraining.checks.checklist import Check
from lora_retraining.checks.configuration import NO_CODE, SWITCHES, configuration_files, quantised_configuration
from lora_retraining.checks.quantised_names import quantised_model
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.code import code_digest
from mlflow_plugin.project.digests import walk_files
from mlflow_plugin.project.mlproject import load_project

CLASSES = (
    "AqlmConfig",
    "AutoRoundConfig",
    "AwqConfig",
    "BitNetQuantConfig",
    "BitsAndBytesConfig",
    "CompressedTensorsConfig",
    "EetqConfig",
    "FbgemmFp8Config",
    "FineGrainedFP8Config",
    "GPTQConfig",
    "HiggsConfig",
    "HqqConfig",
    "Mxfp4Config",
    "QuantoConfig",
    "QuarkConfig",
    "SpQRConfig",
    "TorchAoConfig",
    "VptqConfig",
    "FastLanguageModel",
)
FUNCTIONS = ("prepare_model_for_kbit_training", "prepare_model_for_int8_training", "quantize_dynamic", "quantize_")
PACKAGES = (
    "aqlm",
    "auto_gptq",
    "auto_round",
    "autoawq",
    "awq",
    "bitsandbytes",
    "eetq",
    "exllamav2",
    "gptqmodel",
    "hqq",
    "optimum.quanto",
    "quanto",
    "torchao",
    "unsloth",
    "unsloth_zoo",
)
SHARED = "projects_common"
_DTYPE_KEYWORDS = ("dtype", "torch_dtype")
_NARROW_DTYPE = re.compile(r"(torch\.)?(u?int\d+|float8\w*|float4\w*)")


def check_scripts(project: Path) -> Check:
    """Check the Python files that the phases of an MLflow project reach through imports, and its configuration
    files.
    """
    project = project.resolve()
    files = scripts_of(project)
    findings = [
        f"{os.path.relpath(file, project)}:{line} {what}" for file in files for line, what in quantised_code(file)
    ]
    configured = configuration_files(project)
    findings += [f"{file.relative_to(project)} {what}" for file in configured for what in quantised_configuration(file)]
    if findings:
        return Check(
            "scripts",
            "fail",
            f"{len(findings)} places load quantised weights: {'; '.join(findings)}",
            "Take that out and load the base in bfloat16 or float32.",
        )
    return Check(
        "scripts", "pass", f"{len(files)} Python and {len(configured)} configuration files load nothing quantised"
    )


def scripts_of(project: Path) -> list[Path]:
    """List the Python files that the phases of an MLproject file reach, or without one all files, in order.

    Args:
        project: The absolute folder of the MLproject file.

    Raises:
        PhaseError: The MLproject file is wrong, or a file cannot be read.
    """
    if not (project / "MLproject").is_file():
        files = walk_files(project, lambda name: name.startswith(".") or name in NO_CODE)
        return sorted(path for name, path in files if name.endswith(".py"))
    scripts: set[Path] = set()
    for phase in load_project(project).phases.values():
        code = code_digest(project, phase.command, list(phase.code) if phase.code else None)
        scripts |= {code.elsewhere.get(name, project / name) for name in code.files}
    # The shared package makes SmolLM2 from a 4-bit file, which `base_precision` reports by itself.
    return sorted(script for script in scripts if script.suffix == ".py" and SHARED not in script.parts)


def quantised_code(file: Path) -> list[tuple[int, str]]:
    """Return (line, finding) of every place in a Python file that asks for quantised weights.

    A file that does not parse cannot run either, and has none.

    Raises:
        PhaseError: The file cannot be read.
    """
    try:
        tree = ast.parse(file.read_bytes())
    except OSError as error:
        raise PhaseError(f"{file} cannot be read: {error.strerror}. Check the path and its permissions.") from None
    except (SyntaxError, ValueError):
        return []
    docstrings = set(_docstrings(tree))
    findings = {
        (getattr(node, "lineno", 0), what)
        for node in ast.walk(tree)
        if id(node) not in docstrings
        for what in _complaints(node)
    }
    return sorted(findings)


def _docstrings(tree: ast.AST) -> Iterator[int]:
    """Yield texts that stand alone as statements, by id."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield id(node.value)


def _complaints(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from _imports(node)
    elif isinstance(node, ast.Call):
        yield from _call(node)
    elif isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        yield from _switches([(key.value, value) for key, value in pairs if isinstance(key, ast.Constant)])
    elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        yield from _switches([(_target_name(target), node.value) for target in targets])
    elif isinstance(node, ast.Name | ast.Attribute):
        name = node.id if isinstance(node, ast.Name) else node.attr
        if name in (*CLASSES, *FUNCTIONS):
            yield f"uses {name}"
    elif isinstance(node, ast.JoinedStr) and node.values:
        # f"unsloth/{name}": any name may stand for the value.
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
        if quantised_model(text):
            yield f"names {ast.unparse(node)}"
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and quantised_model(node.value):
        yield f"names {node.value!r}"


def _imports(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    names = [alias.name for alias in node.names]
    modules = names if isinstance(node, ast.Import) else [node.module or ""] if not node.level else []
    modules += [f"{node.module}.{name}" for name in names] if isinstance(node, ast.ImportFrom) else []
    yield from (f"imports {module}" for module in modules if _is_quantising(module))
    if isinstance(node, ast.ImportFrom):
        yield from (f"imports {name}" for name in names if name in (*CLASSES, *FUNCTIONS))


def _is_quantising(module: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in PACKAGES)


def _call(node: ast.Call) -> Iterator[str]:
    keywords = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
    yield from _switches(list(keywords.items()))
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    texts = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
    if name in ("import_module", "__import__"):
        yield from (f"imports {text}" for text in texts if isinstance(text, str) and _is_quantising(text))
    elif name == "getattr":
        yield from (f"uses {text}" for text in texts if text in (*CLASSES, *FUNCTIONS))
    elif name in ("setattr", "setdefault", "__setitem__") and len(node.args) > 1:
        key = node.args[-2]
        yield from _switches([(key.value if isinstance(key, ast.Constant) else None, node.args[-1])])
    elif name in ("from_pretrained", "from_config", "pipeline"):
        yield from _loading(keywords)


def _loading(keywords: Mapping[str, ast.expr]) -> Iterator[str]:
    for keyword in _DTYPE_KEYWORDS:
        value = keywords.get(keyword)
        text = value.value if isinstance(value, ast.Constant) else ast.unparse(value) if value else ""
        if isinstance(text, str) and _NARROW_DTYPE.fullmatch(text):
            yield f"loads with {keyword}={text}"
    config = keywords.get("quantization_config")
    if config is not None and not _is_off(config) and not _is_dequantising(config):
        yield f"loads with quantization_config={ast.unparse(config)[:60]}"


def _switches(pairs: Sequence[tuple[object, ast.expr]]) -> Iterator[str]:
    for name, value in pairs:
        if name in SWITCHES and not _is_off(value):
            yield f"sets {name}={ast.unparse(value)[:40]}"


def _target_name(target: ast.expr) -> object:
    """Return the name that is assigned: `config.load_in_4bit`, `options["load_in_4bit"]` and `load_in_4bit` alike."""
    if isinstance(target, ast.Attribute):
        return target.attr
    if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
        return target.slice.value
    return getattr(target, "id", None)


def _is_off(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and not value.value


def _is_dequantising(config: ast.expr) -> bool:
    """Tell if `GgufConfig(dequantize=True)` and the like make floats of a file, which `base_precision` checks."""
    return isinstance(config, ast.Call) and any(
        keyword.arg == "dequantize" and isinstance(keyword.value, ast.Constant) and keyword.value.value is True
        for keyword in config.keywords
    )
