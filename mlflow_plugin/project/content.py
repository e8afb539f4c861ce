"""Digests of what a file means, for formats that write something new at every save of the same thing.

MLflow's `MLmodel` names the run that logged the model; a `.skops` file is a zip archive with the time of day and the
memory addresses of the saved objects. Without a look inside, a re-run that reproduces a model would seem to change it.
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


def content_digest(path: Path) -> str:
    """sha256 (64 hex digits) of a file's bytes, or, for `MLmodel` and `.skops`, of what stays when it is saved again.

    A file of those names that is not of that format counts by its bytes. Raises PhaseError when it cannot be read.
    """
    path = Path(path)
    if path.name == "MLmodel":
        return remembered(path, "mlmodel-1", _model_description_digest)
    if path.suffix == ".skops":
        return remembered(path, "skops-1", _skops_digest)
    return file_digest(path)


def _model_description_digest(path: Path) -> str:
    import yaml  # here, since few folders hold a model

    try:
        described = yaml.load(path.read_bytes(), Loader=yaml.BaseLoader)
        kept = {key: value for key, value in described.items() if key not in _CHANGES_WITH_EVERY_RUN}
        return value_digest({"MLmodel": kept})
    except (OSError, yaml.YAMLError, AttributeError, ValueError, TypeError, RecursionError, PhaseError):
        return file_digest(path)


def _skops_digest(path: Path) -> str:
    """Addresses become their order of appearance; members are named by them, so they are taken in that order."""
    order: dict[str, int] = {}

    def numbered(match: re.Match[str]) -> str:
        return f"{match[1]}{order.setdefault(match[2], len(order))}"

    try:
        with zipfile.ZipFile(path) as archive:
            schema = _SKOPS_ADDRESS.sub(numbered, archive.read(_SKOPS_SCHEMA).decode("utf-8"))
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
