"""Environment variables that the user's own code reads by name. The values themselves are never recorded."""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# Set by MLflow, this plugin, a launcher, a scheduler or the session: no inputs of the computation.
_OTHERS = (
    "MLFLOW_ _MLFLOW_ PHASE_INPUT_ SLURM_ SBATCH_ PMI_ PMIX_ OMPI_ MPI_ PBS_ LSB_ LSF_ SGE_ COBALT_ FLUX_JOB_"
    " FLUX_TASK_ JSM_ TORCHELASTIC_ ACCELERATE_ RAY_ KUBERNETES_ AWS_BATCH_ CONDA_ PYTHON LC_ XDG_ SSH_ DBUS_ LD_ DYLD_"
    " PIP_ PYTEST_ GIT_ VSCODE_"
)
_SESSION = (
    "RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE NODE_RANK MASTER_ADDR MASTER_PORT CUDA_VISIBLE_DEVICES GROUP_RANK"
    " GROUP_WORLD_SIZE ROLE_RANK ROLE_NAME ROLE_WORLD_SIZE FLUX_URI FLUX_KVS_NAMESPACE"
    " NVIDIA_VISIBLE_DEVICES HIP_VISIBLE_DEVICES OMP_NUM_THREADS JOB_ID HOME PATH PWD OLDPWD USER LOGNAME USERNAME"
    " SHELL SHLVL TERM COLORTERM COLUMNS LINES LANG LANGUAGE TMPDIR TEMP TMP HOSTNAME HOST DISPLAY EDITOR PAGER MAIL"
    " VIRTUAL_ENV NO_COLOR FORCE_COLOR CI _"
)
_SECRETS = (
    "KEY TOKEN SECRET PASSWORD PASSWD PASSPHRASE CREDENTIAL AUTH COOKIE PRIVATE SIGNATURE WEBHOOK SALT DSN"
    " CONNECTION_STRING"
)
_SET_BY_OTHERS, _OF_THE_SESSION, SECRET = tuple(_OTHERS.split()), frozenset(_SESSION.split()), _SECRETS.split()
# Letters with digits are a secret: in one long piece, or in several with more digits. `resnet50-large` is none.
PIECE_LENGTH, SECRET_LENGTH, SECRET_DIGITS, SECRET_CHARACTERS = 16, 20, 4, 10
# Code that asks for a variable on behalf of the code that called it: its name was chosen there.
_SETTINGS = (
    "click typer environs decouple dynaconf environ everett omegaconf hydra pydantic pydantic_settings configargparse"
    " jsonargparse starlette dotenv confuse"
)
_BETWEEN = ("/posixpath.py", "/ntpath.py", "/string.py", "/configparser.py", "/_collections_abc.py")
_ON_BEHALF = frozenset(_SETTINGS.split())
# Variables in the text of a shell. Of a name that the text itself sets, the value here counts only where there is one.
_USED = r"\$\{*[!#]?([A-Za-z_]\w*)|\bprintenv\s+([A-Za-z_]\w*)"
_ASSIGNED = r"(?:^|[\s;&|(])(?:([A-Za-z_]\w*)=|(?:for|select)\s+([A-Za-z_]\w*)|read\s+(?:-\w+\s+)*([A-Za-z_]\w*))"
_WITH_DEFAULT = r"\$\{+([A-Za-z_]\w*):?[-=?+]"
_ALL = r"(?:^|[;&|(\n])[ \t]*(?:env|printenv|envsubst|set|export[ \t]+-p|declare[ \t]+-[xp]+)[ \t]*(?=$|[\n;&|<>)])"

_local_copies = {}


def is_set_by_others(name: str) -> bool:
    """Tell whether no code of a project sets this variable: MLflow, this plugin, a launcher or the session does."""
    return name in _OF_THE_SESSION or name.startswith(_SET_BY_OTHERS)


def digest_of(name: str, value: "str | None") -> str:
    """Return the digest of a value, "-" where it may be a secret, and "!" where the variable is not set."""
    if value is None:
        return "!"
    upper = name.upper()
    if any(word in upper for word in SECRET) or upper.endswith(("_PASS", "_PWD")) or _looks_secret(value):
        return "-"
    try:
        from _sha256 import sha256
    except ImportError:
        try:
            from _sha2 import sha256
        except ImportError:
            from hashlib import sha256
    return sha256(os.fsencode(value)).hexdigest()


def _looks_secret(value):
    if "://" in value and "@" in value.partition("://")[2].partition("/")[0]:
        return True
    return any(_looks_random(word) for word in value.translate({ord(c): " " for c in "=,:;/"}).split())


def _looks_random(word):
    pieces = word.translate({ord(c): " " for c in "-_.+"}).split()
    plain = "".join(pieces)
    digits = sum(c.isdigit() for c in plain)
    if not digits or digits == len(plain) or len(set(plain)) < SECRET_CHARACTERS:
        return False
    return max(map(len, pieces)) >= PIECE_LENGTH or (len(plain) >= SECRET_LENGTH and digits >= SECRET_DIGITS)


def shell_variables(text: str, environment: "Mapping[str, object]") -> "set[str]":
    """Return the variables that the text of a shell uses and does not set itself, "*" for all of them."""
    import re

    used = {one or other for one, other in re.findall(_USED, text)}
    assigned = {name for names in re.findall(_ASSIGNED, text) for name in names} - set(environment)
    used = (used - assigned) | set(re.findall(_WITH_DEFAULT, text))
    found = {name for name in used if not is_set_by_others(name)}
    return found | {"*"} if re.search(_ALL, text) else found


def _asks_on_behalf(file):
    if file.endswith(_BETWEEN) or file.startswith(("<frozen posixpath", "<frozen ntpath", "<frozen _collections_abc")):
        return True
    return file.rpartition("-packages/")[2].split("/")[0].partition(".")[0] in _ON_BEHALF and "-packages/" in file


def _reader():
    """Return the frame whose code reads one variable by name, or None where something else or a copy is made."""
    frame = sys._getframe(3)
    while frame is not None:
        code = frame.f_code
        file = code.co_filename
        if "_collections_abc" in file:
            if code.co_name not in ("get", "__contains__", "setdefault", "pop"):
                return None
        elif file == os.__file__ or file.startswith("<frozen os"):
            if code.co_name not in ("getenv", "getenvb", "setdefault"):
                return None
        elif not _asks_on_behalf(file):
            return frame
        frame = frame.f_back
    return None


def _copier():
    """Return the frame whose code goes through all variables."""
    frame = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if file != os.__file__ and not file.startswith("<frozen os") and not _asks_on_behalf(file):
            return frame
        frame = frame.f_back
    return None


def _is_own(observing, file):
    return observing.is_own(file) or observing.is_own(observing.records.absolute(file))


def note_shell(observing, text, environment=None):
    """Record the variables in a command that the user's own code hands to a shell, but for those that it set for it."""
    frame = sys._getframe(1)
    while frame is not None and not _is_own(observing, frame.f_code.co_filename):
        if "-packages/" in frame.f_code.co_filename:
            return
        frame = frame.f_back
    if frame is None or ("$" not in text and "env" not in text):
        return
    for name in shell_variables(text, os.environ):
        if name == "*":
            observing.tell("c", "", observing.records.absolute(frame.f_code.co_filename))
        elif environment is None or environment.get(name) == os.environ.get(name):
            observing.tell("V", digest_of(name, os.environ.get(name)) + " ", name)


def wrap(observing):
    """Record each variable at the moment when the user's own code asks for it."""
    kind = type(os.environ)
    getitem, iterate = kind.__getitem__, kind.__iter__

    def __getitem__(self, key):
        try:
            value = getitem(self, key)
        except KeyError:
            _note(observing, key, None)
            raise
        _note(observing, key, value)
        return value

    def __iter__(self):
        # `dict(os.environ)` and `**os.environ` ask for the names and for each value by one instruction.
        frame = sys._getframe(1)
        while frame is not None and "_collections_abc" in frame.f_code.co_filename:
            frame = frame.f_back
        if frame is not None:
            _local_copies["last"] = (id(frame.f_code), frame.f_lasti)
        with observing.quietly() as on:
            frame = _copier() if on else None
            if frame is not None and _is_own(observing, frame.f_code.co_filename):
                observing.tell("c", "", observing.records.absolute(frame.f_code.co_filename))
        return iterate(self)

    kind.__getitem__, kind.__iter__ = __getitem__, __iter__


def _note(observing, key, value):
    with observing.quietly() as on:
        if not on:
            return
        frame = _reader()
        if frame is None or _local_copies.get("last") == (id(frame.f_code), frame.f_lasti):
            return
        name = os.fsdecode(key)
        value = None if value is None else os.fsdecode(value)
        if is_set_by_others(name):
            return
        if _is_own(observing, frame.f_code.co_filename):
            observing.tell("V", digest_of(name, value) + " ", name)
