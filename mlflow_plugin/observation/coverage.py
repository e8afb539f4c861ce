"""Tell how much of what a process tree read could be seen, and name what could not."""

from collections import Counter
from collections.abc import Mapping, Set

from mlflow_plugin.observation.processes import Processes
from mlflow_plugin.project.vocabulary import Coverage

Words = Mapping[str, Set[str]]
"""Kind of a record -> what the processes said of it, see `reading`."""

ISOLATED = "variables that a Python started with -I, -E or -S read are not compared"

_SHELLS_OWN = "cd echo export exit set exec printf true false : wait sleep mkdir tee"
_THEY_READ_NO_DATA = "uname ldconfig nvidia-smi rocm-smi lscpu git hostname stty tput file gcc cc clang ld"
_HARMLESS = frozenset(f"{_SHELLS_OWN} {_THEY_READ_NO_DATA}".split())
_LISTS_LIBRARIES = ("/sbin/ldconfig", "/usr/sbin/ldconfig")  # For ctypes, from installed files alone.
_ABOUT_GIT_ITSELF = "version help config init remote add commit push gc maintenance"
# What git starts by itself when it copies a repository.
_HELPERS_OF_GIT = "index-pack upload-pack unpack-objects pack-objects fetch-pack receive-pack send-pack remote-https"
_GIT_READS_NOTHING = frozenset(["", *_ABOUT_GIT_ITSELF.split(), *_HELPERS_OF_GIT.split()])
_WHY_NOT = {
    "static": "it is statically linked",
    "setuid": "it runs with the rights of another user",
    "hidden": "it hides its memory",
    "go": "it calls the kernel without the C library, as Go programs do",
    "uring": "it reads by io_uring",
    "walk": "it lets the C library walk through folders",
}


def coverage_of(way: str, words: Words, processes: Processes) -> Coverage:
    """Return how much the processes could see, by what each Python process said of itself."""
    said = {word.partition(" ")[0] for word in words.get("H", ())}
    if way == "shim":
        return "python" if "python" in said else "full" if processes.heard else "none"
    if "full" in said and "python" not in said:
        return "full"
    return "python" if said else "none"


def partly_seen(coverage: Coverage, way: str, words: Words, processes: Processes) -> tuple[str, ...]:
    """Return one sentence for each kind of thing that this way of observing does not see here."""
    sentences = []
    if "before" in words.get("q", ()):
        sentences.append("what the script read before it imported mlflow_plugin was not seen")
    for word in sorted(words.get("X", ())):
        how, path = word.split(" ", 1)
        if how == "static" and processes.is_launcher(path):
            sentences.append(f"what {path} read before it started another program was not seen")
    if coverage == "python":
        sentences.append("only what Python itself opened was seen")
    if way == "notification" and words.get("C", set()) - _HARMLESS:
        sentences.append("what other programs than Python only looked for was not seen")
    return tuple(sentences)


def not_compared(words: Words) -> tuple[str, ...]:
    """Return one sentence for each thing that is known to have been read and that nothing is recorded of."""
    remarks = [ISOLATED] if "Y" in words else []
    started, by_others = (Counter(word.partition(" ")[2] for word in words.get(kind, ())) for kind in "vw")
    if commands := sorted(set(started - by_others) - _GIT_READS_NOTHING):
        listed = ", ".join(f"git {command}" for command in commands)
        remarks.append(f"what {listed} read of a repository is not compared")
    return tuple(remarks)


def unseen_by(coverage: Coverage, reason: str, words: Words, processes: Processes) -> tuple[str, ...]:
    """Return one sentence for each thing that could not be seen."""
    sentences = []
    for word in sorted(words.get("X", ())):
        how, path = word.split(" ", 1)
        if path in _LISTS_LIBRARIES or (how == "static" and processes.is_launcher(path)):
            continue
        sentences.append(f"what {path} read was not seen: {_WHY_NOT.get(how, _WHY_NOT['setuid'])}")
    readers = set(words.get("U", ()))
    if coverage == "python":
        readers |= words.get("I", set()) | (words.get("C", set()) - _HARMLESS)
    why = reason or "it was started without the library that sees it"
    sentences += [f"what {name} read was not seen ({why})" for name in sorted(readers)]
    sentences += processes.blind()
    if coverage == "none":
        sentences.append(f"what it read was not seen ({reason or 'no process recorded anything'})")
    return tuple(sentences)
