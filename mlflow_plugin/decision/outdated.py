"""Put into words what earlier runs read that has changed since. Pure."""

from collections.abc import Sequence

from mlflow_plugin.observation.readable import listed
from mlflow_plugin.store.run import PhaseRun

_MOST = 3
_PLURAL = {
    "has changed since": "have changed since",
    "is gone": "are gone",
    "has another value now": "have other values now",
    "is not set now": "are not set now",
    "was not set then": "were not set then",
    "was not there then": "were not there then",
}
_LOOKED_FOR = ("was not set then", "was not there then")


def read_and_changed(runs: Sequence[PhaseRun], changed: Sequence[str]) -> str:
    """Name what runs read that is not as it was then.

    Args:
        runs: Runs of one phase, at least one, with the same differences.
        changed: One phrase for each difference, at least one, such as `data/rows.csv, which has changed since`.
    """
    words, before = [], ""
    for verb, phrase in _grouped(changed[:_MOST]):
        also = "and " if before else ""
        words.append(f"{also}{phrase}" if verb == before else f"{also}{verb} {phrase}")
        before = verb
    if len(changed) > _MOST:
        words.append(f"and {len(changed) - _MOST:,} more")
    return f"{runs[0].phase} {listed([run.short for run in runs])} {', '.join(words)}"


def _grouped(changed: Sequence[str]) -> list[tuple[str, str]]:
    """Return verb and phrase of each state, so that two changed files share one `which have changed since`."""
    names: dict[str, list[str]] = {}
    for phrase in changed:
        name, _, how = phrase.rpartition(", which ")
        names.setdefault(how if how in _PLURAL else phrase, []).append(name)
    return [
        ("looked for" if how in _LOOKED_FOR else "read", _phrase(how, group) if how in _PLURAL else how)
        for how, group in names.items()
    ]


def _phrase(how: str, names: list[str]) -> str:
    return f"{listed(names)}, which {_PLURAL[how] if len(names) > 1 else how}"
