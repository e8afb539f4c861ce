"""Name a project whose MLproject file has no `name:`."""

import configparser
import os
import re
import tempfile
from pathlib import Path


def default_name(directory: Path) -> str:
    """Return the name of the project's folder; for a clone that MLflow has made of a git URI, the repository's.

    MLflow clones into a new temporary folder each time, so the name of that folder would make every run the first. The
    name of a working copy stays that of its folder, as old stores have it.
    """
    temporary = Path(os.path.realpath(tempfile.gettempdir()))
    if Path(os.path.realpath(directory)).parent == temporary and (name := _name_of_origin(directory)):
        return name
    return directory.name


def _name_of_origin(directory: Path) -> str:
    """The last part of the URL of the remote `origin`, without `.git`; empty where there is none."""
    parser = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
    try:
        parser.read_string((directory / ".git" / "config").read_text(encoding="utf-8"))
        url = parser.get('remote "origin"', "url", fallback="") or ""
    except (OSError, UnicodeDecodeError, configparser.Error):
        return ""
    return re.split(r"[/\\:]", url.strip().rstrip("/"))[-1].removesuffix(".git")
