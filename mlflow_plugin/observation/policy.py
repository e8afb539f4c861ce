"""Decide which files, folders, variables and peers of a recording count."""

import os
import re
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

from mlflow_plugin.observation.files import join_name
from mlflow_plugin.observation.places import Places
from mlflow_plugin.project.outputs import is_declared, leads_to
from mlflow_plugin.project.own_code import is_below
from mlflow_plugin.project.project import LOG_FILE, OWN_FOLDER
from mlflow_plugin.project.vocabulary import EnvironmentPolicy, External, Observe

_SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc",
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/boot",
    "/nix",
)
_SYSTEM_MACOS = ("/System", "/Library", "/opt/homebrew", "/private/etc", "/private/var/db")
_COMPANIONS = ("-wal", "-shm", "-journal")
_NEVER = {".git", ".hg", ".svn", "__pycache__", "site-packages", "dist-packages", "node_modules", LOG_FILE, OWN_FOLDER}
_NEVER_SUFFIXES = (".egg-info", ".dist-info")
# In the project and its repository: environments and the stores that MLflow makes where it is started.
_NEVER_OWN = {"venv", ".venv", "mlruns", "mlartifacts"}
_STORE = "mlflow.db"
# What editors leave beside a file that is open in them.
_SWAP_FILE = re.compile(r"\..+\.sw[op-x]|\.#.+|\.goutputstream-.+", re.DOTALL)
_PYTHON_LIBRARY = re.compile(r"(.*)/lib(?:64)?/python3\.\d+t?/")
# Content-addressed, or rebuilt at will by the library that owns them.
_CACHES = (
    "mlflow-phases", "huggingface", "torch", "pip", "uv", "matplotlib", "fontconfig", "conda", "pypoetry", "numba",
    "triton", "torch_extensions", "torchinductor", "nvidia", "mesa_shader_cache", "pre-commit",
)  # fmt: skip
# Variables that name a folder, and what libraries keep in it: a person may keep data beside that.
_CACHE_VARIABLES = {
    "HF_HOME": (
        "hub",
        "datasets",
        "modules",
        "assets",
        "xet",
        "evaluate",
        "metrics",
        "accelerate",
        "token",
        "stored_tokens",
    ),
    "HF_HUB_CACHE": ("",),
    "HUGGINGFACE_HUB_CACHE": ("",),
    "TORCH_HOME": ("hub",),
    "PIP_CACHE_DIR": ("",),
}
# Credentials change without changing a result, and no digest of one may be kept.
_PRIVATE = (
    ".netrc", ".ssh", ".aws", ".azure", ".kube", ".docker", ".databrickscfg", ".mlflow", ".gitconfig", ".pypirc",
    ".config/gcloud", ".config/git", ".config/mlflow", ".config/wandb", ".git-credentials", ".pgpass", ".my.cnf",
)  # fmt: skip
# Start-up files of shells, and the managers of interpreters and compilers: they are installed, as packages are.
_TOOLS = (
    ".pyenv", ".asdf", ".nvm", ".cargo", ".rustup", ".conda", ".condarc", ".local/share/uv", ".local/bin",
    ".config/pip", ".config/uv", ".bashrc", ".bash_profile", ".bash_aliases", ".profile", ".zshrc", ".zshenv",
    ".inputrc", ".terminfo",
)  # fmt: skip


@dataclass(frozen=True)
class Policy:
    """The keys of a phase that say what counts, and the places that never count.

    Attributes:
        observe: `all`, `project` for the project, its repository and the named roots alone, or `none`.
        ignore_reads: Patterns of files that do not count.
        external: The treatment of peers in the network.
        environment: The treatment of package versions and the environment file.
        skip: Absolute paths of files and folders that do not count: the tracking store, artifact roots, caches.
        code_files: Absolute paths of the files that count in the code digest already.
        known_peers: Peers, as `host:port`, that do not count: the tracking server, the artifact store.
        outputs: The declared outputs of the phase and of those before it, relative to the project. They are compared
            as outputs of runs.
        listed_outputs: The declared outputs of all phases: their names do not count in a listed folder.
    """

    observe: Observe = "all"
    ignore_reads: tuple[str, ...] = ()
    external: External = "mention"
    environment: EnvironmentPolicy = "mention"
    skip: tuple[str, ...] = ()
    code_files: frozenset[str] = frozenset()
    known_peers: frozenset[str] = frozenset()
    outputs: tuple[str, ...] = ()
    listed_outputs: tuple[str, ...] = ()

    def ignores(self, name: str, path: str) -> bool:
        """Return True for a declared output, and for what `ignore_reads` matches by name or absolute path."""
        if self.outputs and is_declared(self.outputs, name):
            return True
        pattern = self._ignored
        return pattern is not None and bool(pattern.fullmatch(name) or pattern.fullmatch(path))

    def ignores_entry(self, name: str, path: str) -> bool:
        """Return True for an entry of a listed folder that is ignored, or an output of any phase, or holds some."""
        return self.ignores(name, path) or is_declared(self.listed_outputs, name) or leads_to(self.listed_outputs, name)

    @property
    def ignores_files(self) -> bool:
        """Return True where there may be files that do not count."""
        return bool(self.ignore_reads or self.outputs)

    @property
    def _ignored(self) -> re.Pattern[str] | None:
        return _ignored_pattern(self.ignore_reads) if self.ignore_reads else None


def counts_in_listing(name: str) -> bool:
    """Return True for a bare name that counts among the names of a listed folder."""
    never = name in _NEVER or name in _NEVER_OWN or name.startswith(_STORE) or _SWAP_FILE.fullmatch(name)
    return not never and not name.endswith((*_NEVER_SUFFIXES, ".pyc", ".pyo"))


class Filter:
    """Tell the paths that count from the others, for one recording.

    Args:
        policy: What counts.
        places: The folders of the user.
        seen: All paths of the recording. They betray where interpreters are installed.
    """

    def __init__(self, policy: Policy, places: Places, seen: Iterable[str] = ()) -> None:
        self._policy, self._places = policy, places
        self._seen = list(seen)
        own = (str(places.project), os.path.realpath(places.project))
        # A store in the project's own folder must not make the project itself disappear.
        skip = [place for place in map(os.path.abspath, policy.skip) if not any(is_below(one, place) for one in own)]
        self._skipped = skip
        self._skip = _Below(skip, [place + companion for place in skip for companion in _COMPANIONS])
        self._folders: dict[str, tuple[str, bool]] = {}

    def counted_name(self, path: str) -> str | None:
        """Return the name of an absolute path of a file, None where it does not count."""
        folder, base = os.path.split(path)
        if folder not in self._folders:
            self._folders[folder] = self._folder(folder)
        name, counts = self._folders[folder]
        if not counts or base in ("", ".", "..") or not _counts_by_name(base, own=not os.path.isabs(name)):
            return None
        name = join_name(name, base)
        # What the MLproject file declares is compared as such.
        if self._skip.holds(path) or self._policy.ignores(name, path) or name.lower() == "mlproject":
            return None
        return None if os.path.isabs(name) and self._is_elsewhere_skipped(path) else name

    def counted_folder(self, path: str) -> str | None:
        """Return the name of an absolute path of a listed folder, None where it does not count."""
        name, counts = self._folder(path.rstrip(os.sep) or os.sep)
        # All programs of the machine make files there.
        if os.path.isabs(name) and (path == os.sep or path in temporary_folders()):
            return None
        return name if counts and not self._policy.ignores(name, path) else None

    def is_above_skipped(self, path: str) -> bool:
        """Return True for a folder that holds a place that does not count, such as the run's own artifacts."""
        return any(is_below(place, path) for place in self._skipped)

    def counts_in_listing(self, name: str, folder: str, base: str) -> bool:
        """Return True for an entry that counts among the names of a listed folder.

        Args:
            name: The name of the folder.
            folder: Its absolute path.
            base: The name of the entry in it.
        """
        path = os.path.join(folder, base)
        if not counts_in_listing(base) or self._skip.holds(path):
            return False
        return not self._policy.ignores_entry(join_name(name, base), path)

    def _folder(self, folder: str) -> tuple[str, bool]:
        """The name of a folder, and True when files directly in it count as far as the folder tells."""
        name = self._places.name_of(folder)
        own = not os.path.isabs(name)
        parts = name.split(os.sep) if own else folder.split(os.sep)
        if not all(_counts_by_name(part, own=own) for part in parts):
            return name, False
        if self._skip.holds(folder) or self._prefixes.holds(folder):
            return name, False
        return name, own or (self._policy.observe == "all" and not self._is_elsewhere_skipped(folder))

    def _is_elsewhere_skipped(self, path: str) -> bool:
        # The disks that a desktop mounts, and the memory that people use as a disk.
        return self._elsewhere.holds(path) and not f"{path}/".startswith(("/run/media/", "/dev/shm/"))

    @cached_property
    def _elsewhere(self) -> "_Below":
        """Folders outside the user's own that never count."""
        home = os.path.expanduser("~")
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
        folders = [*_SYSTEM, *(_SYSTEM_MACOS if sys.platform == "darwin" else ())]
        folders += [os.path.join(base, one) for base in {cache, os.path.join(home, ".cache")} for one in _CACHES]
        folders += [os.path.join(home, one) for one in (*_PRIVATE, *_TOOLS)]
        if configuration := os.environ.get("XDG_CONFIG_HOME"):
            names = [one.removeprefix(".config/") for one in (*_PRIVATE, *_TOOLS) if one.startswith(".config/")]
            folders += [os.path.join(configuration, name) for name in names]
        for variable, parts in _CACHE_VARIABLES.items():
            if value := os.environ.get(variable):
                folders += [
                    os.path.join(os.path.abspath(value), part) if part else os.path.abspath(value) for part in parts
                ]
        return _Below(folders)

    @cached_property
    def _prefixes(self) -> "_Below":
        """Folders with an interpreter: those of this process, and those whose library or `pyvenv.cfg` was read."""
        found = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
        for path in self._seen:
            if match := _PYTHON_LIBRARY.match(path):
                found.add(match[1])
            elif path.endswith("/pyvenv.cfg"):
                found.add(os.path.dirname(path))
        folders = [self._places.project, *self._places.roots.values()]
        folders += [self._places.repository] if self._places.repository else []
        own = [one for folder in folders for one in (os.path.abspath(folder), os.path.realpath(folder))]
        prefixes = []
        for prefix in found | {os.path.realpath(one) for one in found}:
            if prefix in ("", os.sep):
                continue
            if any(is_below(one, prefix) for one in own):
                # The user's folder lies in the interpreter's, as in a container: only the installed parts go.
                prefixes += [os.path.join(prefix, part) for part in ("bin", "lib", "lib64", "include", "share")]
            else:
                prefixes.append(prefix)
        return _Below([prefix for prefix in prefixes if not any(is_below(one, prefix) for one in own)])


class _Below:
    """Some files and folders, to tell quickly which paths are one of them or lie below one."""

    def __init__(self, places: Iterable[str], files: Iterable[str] = ()) -> None:
        places = list(places)
        self._exact = frozenset([*places, *files])
        self._starts = tuple(os.path.join(place, "") for place in places)

    def holds(self, path: str) -> bool:
        """Return True for a path that is one of the places or lies below one."""
        return path in self._exact or path.startswith(self._starts)


def _counts_by_name(part: str, *, own: bool) -> bool:
    if part in _NEVER or part.endswith(_NEVER_SUFFIXES):
        return False
    return not (own and (part in _NEVER_OWN or part.startswith(_STORE)))


def temporary_folders() -> set[str]:
    """Return the folders for temporary files."""
    return {tempfile.gettempdir(), os.path.realpath(tempfile.gettempdir()), "/tmp", "/var/tmp", "/dev/shm"}


def is_temporary(path: str) -> bool:
    """Return True for a path in a folder for temporary files."""
    return any(is_below(path, folder) for folder in temporary_folders())


@lru_cache(maxsize=64)
def _ignored_pattern(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{_checked_expression(pattern)})" for pattern in patterns), re.DOTALL)


def _checked_expression(pattern: str) -> str:
    """A range such as `[z-a]` stands for itself."""
    expression = _regular_expression(pattern)
    try:
        re.compile(expression)
    except re.error:
        return re.escape(pattern)
    return expression


def _regular_expression(pattern: str) -> str:
    """A pattern as a regular expression of the files that it names, and of everything below a folder that it names."""
    text = os.path.expanduser(os.path.expandvars(pattern)).removeprefix("./").rstrip("/")
    # As in a `.gitignore`: without a slash it counts in any folder.
    parts = [] if "/" in text else [r"(?:.*/)?"]
    position = 0
    while position < len(text):
        rest = text[position:]
        if rest == "/**":  # The folder goes with all that lies in it.
            break
        if rest.startswith("**/"):
            parts.append(r"(?:.*/)?")
            position += 3
        elif rest.startswith("**"):
            parts.append(".*")
            position += 2
        elif group := re.match(r"\[(!?)([^\]/]+)\]", rest):
            inside = group[2].replace("\\", r"\\").replace("^", r"\^").replace("[", r"\[")
            parts.append(f"[{'^' if group[1] else ''}{inside}]")
            position += group.end()
        else:
            parts.append({"*": "[^/]*", "?": "[^/]"}.get(rest[0], re.escape(rest[0])))
            position += 1
    return "".join(parts) + r"(?:/.*)?"
