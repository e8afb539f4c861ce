"""Derive what counts when a phase is observed: its keys, and the places of the tracking store, which never count."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from mlflow.tracking import MlflowClient
from mlflow.utils.file_utils import local_file_uri_to_path

from mlflow_plugin.observation.policy import Policy
from mlflow_plugin.project.outputs import all_outputs, handed_over
from mlflow_plugin.project.project import Phase, Project
from mlflow_plugin.store.artifacts import local_folder
from mlflow_plugin.store.run import PhaseRun

_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_SQLITE = "sqlite:///"
_SQLITE_COMPANIONS = ("", "-wal", "-shm", "-journal")


def policy_of(
    project: Project,
    phase: Phase,
    client: MlflowClient,
    runs: Iterable[PhaseRun] = (),
    code_files: Iterable[Path] = (),
) -> Policy:
    """Return the policy for a phase.

    Args:
        project: The project, with the outputs that its phases declare.
        phase: The phase, with its keys.
        client: The tracking store. Its files do not count.
        runs: Runs whose artifacts do not count: the run itself and its inputs.
        code_files: Files that count in the code digest already.
    """
    runs = list(runs)
    return Policy(
        observe=phase.observe,
        ignore_reads=phase.ignore_reads,
        external=phase.external,
        environment=phase.environment,
        skip=tuple(sorted({*store_places(client), *artifact_places(runs), *_caches()})),
        code_files=frozenset(str(file) for file in code_files),
        known_peers=frozenset(store_servers(client, runs)),
        outputs=handed_over(project, phase),
        listed_outputs=all_outputs(project),
    )


def store_places(client: MlflowClient) -> list[str]:
    """Return the files and folders of a local tracking store; none for a server."""
    uri = str(client.tracking_uri)
    if uri.startswith(_SQLITE):
        database = os.path.abspath(uri.removeprefix(_SQLITE))
        return [database + companion for companion in _SQLITE_COMPANIONS]
    if "://" not in uri or uri.startswith("file:"):
        return [os.path.abspath(local_file_uri_to_path(uri))]
    return []


def store_servers(client: MlflowClient, runs: Iterable[PhaseRun] = ()) -> list[str]:
    """Return the tracking server, its database and the artifact store as `host:port`, as far as they are servers."""
    endpoints = [os.environ.get(name, "") for name in ("MLFLOW_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL")]
    uris = [str(client.tracking_uri), *endpoints, *(run.artifact_uri for run in runs)]
    servers = []
    for uri in uris:
        with suppress(ValueError):  # A port that is no number.
            parts = urlsplit(uri)
            port = parts.port or _PORTS.get(parts.scheme.partition("+")[0])
            if parts.hostname and port:
                servers.append(f"{parts.hostname}:{port}")
    return servers


def artifact_places(runs: Iterable[PhaseRun]) -> list[str]:
    """Return the folders with the artifacts of these runs, where they are local, and with their logged models."""
    places = []
    for run in runs:
        folder = local_folder(run.artifact_uri) if run.artifact_uri else None
        if folder and folder.name == "artifacts":
            # `ROOT/RUN/artifacts`; logged models lie in `ROOT/models`. Other runs there are no inputs of the phase.
            places += [str(folder.parent), str(folder.parent.parent / "models")]
        elif folder:
            places.append(str(folder))
    return places


def _caches() -> list[str]:
    """Return this package's own caches."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return [os.path.join(base, "mlflow-phases")]
