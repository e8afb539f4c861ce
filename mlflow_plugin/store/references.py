"""Resolve URIs of the tracking store to the version or run that they mean now."""

import re

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

_RUN = re.compile(r"runs:/+(?P<run_id>[\w-]+)(?:/.*)?", re.DOTALL)
_PROMPT = re.compile(r"prompts:/(?P<name>[^/@]+)@(?P<alias>[^/]+)")
_MODEL = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/]+)|/(?P<version>[^/]+))")


def resolved_version(client: MlflowClient, uri: str) -> str | None:
    """Return the version that `models:/NAME@ALIAS`, `models:/NAME/latest` or `models:/NAME/STAGE` means now.

    So with `prompts:/NAME@ALIAS`.

    Returns:
        The version; the run of `runs:/RUN/PATH`; None when there is none, or the registry does not answer.
    """
    if run := _RUN.fullmatch(uri):
        return run["run_id"]
    if prompt := _PROMPT.fullmatch(uri):
        try:
            return str(client.get_prompt_version_by_alias(prompt["name"], prompt["alias"]).version)
        except (MlflowException, ValueError):
            return None
    match = _MODEL.fullmatch(uri)
    if match is None:
        return None
    name, alias, version = match["name"], match["alias"], match["version"]
    try:
        if alias:
            return str(client.get_model_version_by_alias(name, alias).version)
        if version.isdigit():
            return str(client.get_model_version(name, version).version)
        if version.lower() == "latest":
            versions = client.search_model_versions(f"name='{name}'")
        else:
            versions = client.get_latest_versions(name, stages=[version])
        return max((str(one.version) for one in versions), key=int, default=None)
    except (MlflowException, ValueError):
        return None
