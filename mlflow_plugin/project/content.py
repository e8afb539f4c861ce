"""Digest the content of files whose bytes differ at every save of the same object.

MLflow's `MLmodel` contains the id of the run that logged the model. A `.skops` file is a zip archive with the time of
day and the memory addresses of the saved objects. By their bytes, a re-run that reproduces a model would seem to
change it.
"""

import hashlib
import re
import zipfile
import zlib
from pathlib import Path

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.digests import file_digest, remembered, value_digest

_CHANGES_WITH_EVERY_RUN = {"run_id", "model_id", "model_uuid", "utc_time_created", "artifact_path"}
_SKOPS_SCHEMA = "schema.json"
_SKOPS_ADDRESS = re.compile(r'("__id__": |"file": ")(\d+)')


def content_digest(path: Path, sha256: str = "") -> str:
    """Return the sha256 of a file's content, 64 hex digits.

    For `MLmodel` and `.skops` the parts that change at every save are left out. All other files, and files of these
    names in another format, are digested by their bytes.

    Args:
        path: The file.
        sha256: The digest of its bytes, when it is known.

    Raises:
        PhaseError: The file cannot be read.
    """
    if sha256 and not str(path).endswith(("MLmodel", ".skops")):
        return sha256
    path = Path(path)
    if path.name == "MLmodel":
        return remembered(path, "mlmodel-1", _model_description_digest)
    if path.suffix == ".skops":
        return remembered(path, "skops-1", _skops_digest)
    return sha256 or file_digest(path)


def _model_description_digest(path: Path) -> str:
    import yaml  # Here, since few folders contain a model.

    try:
        description = yaml.load(path.read_bytes(), Loader=yaml.BaseLoader)
        stable = {key: value for key, value in description.items() if key not in _CHANGES_WITH_EVERY_RUN}
        return value_digest({"MLmodel": stable})
    except (OSError, yaml.YAMLError, AttributeError, ValueError, TypeError, RecursionError, PhaseError):
        return file_digest(path)


def _skops_digest(path: Path) -> str:
    """Digest a skops archive with each memory address replaced by its order of appearance in the schema."""
    order: dict[str, int] = {}

    def replace_address(match: re.Match[str]) -> str:
        return f"{match[1]}{order.setdefault(match[2], len(order))}"

    try:
        with zipfile.ZipFile(path) as archive:
            schema = _SKOPS_ADDRESS.sub(replace_address, archive.read(_SKOPS_SCHEMA).decode("utf-8"))
            # Members are named by addresses too.
            members = [[_renamed(name, order), _member_digest(archive, name)] for name in archive.namelist()]
        return value_digest({"skops": schema, "members": sorted(m for m in members if m[0] != _SKOPS_SCHEMA)})
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, NotImplementedError, RuntimeError, EOFError, zlib.error):
        return file_digest(path)


def _renamed(member: str, order: dict[str, int]) -> str:
    address, dot, suffix = member.partition(".")
    return f"{order[address]}{dot}{suffix}" if address in order else member


def _member_digest(archive: zipfile.ZipFile, name: str) -> str:
    with archive.open(name) as member:
        digest = hashlib.sha256()
        while piece := member.read(1 << 20):
            digest.update(piece)
        return digest.hexdigest()
