"""What a phase looked at without opening it: which paths were there, the sizes of files, the targets of links."""

import os
import stat

from mlflow_plugin.observation.hub import is_in_hub
from mlflow_plugin.observation.places import Places, folders_above
from mlflow_plugin.observation.policy import Filter
from mlflow_plugin.observation.recording import Recording

MOST_LOOKS = 20_000


class Looks:
    """The looks of a recording that count.

    A look counts where nothing else says the same: the file was never opened, its folder not listed, nothing below it
    used, and the run neither made it nor took it away.

    Args:
        recording: What was seen.
        paths: Tells the paths that count.
        places: The folders of the user.
        known: Names of files that count already, or that the run wrote.

    Attributes:
        there: Names of paths that were there.
        sizes: Name of a file -> its size.
        links: Name of a link -> its target.
        left_out: The number of looks beyond `MOST_LOOKS`.
    """

    def __init__(self, recording: Recording, paths: Filter, places: Places, known: set[str]) -> None:
        taken_away = {*recording.removed, *recording.moved}
        used = folders_above(
            [*recording.read, *recording.written, *recording.modules, *recording.looked, *recording.kept, *taken_away],
        )
        used |= {*recording.listed, *recording.kept, *taken_away} | folders_above(recording.listed)
        there, self.sizes, self.links = set(), {}, {}
        for path, size in recording.looked.items():
            name = None if path in used or is_in_hub(path) else paths.counted_name(path)
            # That a folder of the tracking store is there says nothing.
            if name is None or os.path.isabs(name) or name in known or paths.is_above_skipped(path):
                continue
            now = size_of(path)
            if now is not None and 0 <= size == now and not path.endswith(".py"):
                self.sizes[name] = size
            # A file that grew meanwhile, such as a log, counts as being there. One that is gone was in use.
            elif now is not None and os.path.dirname(path) not in recording.listed:
                there.add(name)
        opened = {*used, *recording.read}
        for path, target in recording.asked_links.items():
            name = paths.counted_name(path)
            if path in opened and target not in opened and not _is_named_alike_everywhere(target, places):
                # It is a way to data that lie elsewhere on each machine; what was read by this way is compared by it.
                continue
            if (
                name is not None
                and not os.path.isabs(name)
                and name not in known
                and target_of(path, places) is not None
            ):
                self.links[name] = target_name(target, places)
        self.left_out = max(0, len(there) + len(self.sizes) + len(self.links) - MOST_LOOKS)
        self.sizes = dict(sorted(self.sizes.items())[:MOST_LOOKS])
        self.links = dict(sorted(self.links.items())[: MOST_LOOKS - len(self.sizes)])
        self.there = tuple(sorted(there)[: MOST_LOOKS - len(self.sizes) - len(self.links)])


def _is_named_alike_everywhere(target: str, places: Places) -> bool:
    return not os.path.isabs(target) or places.is_own(target)


def size_of(path: str) -> int | None:
    """Return the size of a file, -1 for another thing that is there, None for a path that is not there."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return -1 if "\0" not in path and os.path.lexists(path) else None
    return status.st_size if stat.S_ISREG(status.st_mode) else -1


def target_of(path: str, places: Places) -> str | None:
    """Return where a link leads, as a name where it is an absolute path; None where there is no link."""
    try:
        target = os.readlink(path)
    except (OSError, ValueError):
        return None
    return target_name(target, places)


def target_name(target: str, places: Places) -> str:
    """Return the target of a link, as a name where it is an absolute path."""
    return places.name_of(target) if os.path.isabs(target) else target
