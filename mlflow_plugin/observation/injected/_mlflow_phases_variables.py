"""Environment variables that the user's own code reads by name. The values themselves are never recorded."""

import os
import sys

# Set by MLflow, this plugin, a launcher, a scheduler or the session: no inputs of the computation.
_OTHERS = (
    "MLFLOW_ _MLFLOW_ PHASE_ SLURM_ SBATCH_ PMI_ PMIX_ OMPI_ MPI_ PBS_ LSB_ LSF_ SGE_ COBALT_ FLUX_ JSM_ TORCHELASTIC_"
    " ACCELERATE_ RAY_ KUBERNETES_ AWS_BATCH_ GROUP_ ROLE_ CONDA_ PYTHON LC_ XDG_ SSH_ DBUS_ LD_ DYLD_ PIP_"
    " PYTEST_ GIT_ VSCODE_"
)
_SESSION = (
    "RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE NODE_RANK MASTER_ADDR MASTER_PORT CUDA_VISIBLE_DEVICES"
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

_local_copies = {}


def is_set_by_others(name: str) -> bool:
    """Tell whether no code of a project sets this variable: MLflow, this plugin, a launcher or the session does."""
    return name in _OF_THE_SESSION or name.startswith(_SET_BY_OTHERS)


def digest_of(name, value):
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
        else:
            return frame
        frame = frame.f_back
    return None


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
        if observing.is_own(frame.f_code.co_filename) or observing.is_own(
            observing.records.absolute(frame.f_code.co_filename)
        ):
            observing.tell("V", digest_of(name, value) + " ", name)
