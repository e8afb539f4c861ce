"""Compare what a phase looked at and did not open, and where links lead: existence, sizes of files, targets."""

import os
from collections.abc import Callable

from mlflow_plugin.observation.looks import size_of, target_of
from mlflow_plugin.observation.places import Places
from mlflow_plugin.observation.reach import Reach
from mlflow_plugin.observation.readable import readable
from mlflow_plugin.observation.report import Report
from mlflow_plugin.observation.trace import Trace


def compare_looks(trace: Trace, places: Places, reach: Reach, report: Report, ignores: Callable[[str], bool]) -> None:
    """Report every look whose result is another one now.

    Args:
        trace: What the run read.
        places: The folders of the user.
        reach: Keeps account of what cannot be reached here.
        report: Takes in what differs.
        ignores: Tells the names that do not count.
    """
    existence: list[tuple[str, int | str | None]] = [(name, None) for name in trace.there]
    for name, then in [*existence, *trace.sizes.items(), *trace.links.items()]:
        place = places.place_of(name)
        path = place.path
        if ignores(name):
            continue
        if not reach.may_read(place, [name], 1) or path is None:
            report.row("file", name, "not compared")
            continue
        now = target_of(path, places) if isinstance(then, str) else size_of(path)
        folder = os.path.dirname(path)
        if now is None and not reach.is_folder(folder):
            reach.miss(folder, 1)
            report.row("file", name, "not compared", remark="its folder is not here")
        elif now is None and not os.path.lexists(path):
            report.changed("file", name, f"{readable(name)}, which is gone", "gone", missing=True)
        elif then is None or now == then:
            report.row("file", name, "same")
        else:
            how = "leads elsewhere now" if isinstance(then, str) else "has another size now"
            report.changed("file", name, f"{readable(name)}, which {how}", str(now))
