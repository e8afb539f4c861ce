"""The whole harness: `python -m tests.faults --trials 200 --store local --store s3 --seed 1`. Prints figures in
Markdown.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from tests.faults.kills import Tally, kill_trial
from tests.faults.training import make_twin
from tests.servers.shared import end_shared
from tests.servers.stores import STORES, Store, make_empty_database, open_store

_SAY_EVERY_SECONDS = 10.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--trials", type=int, default=200, help="trainings to kill on each store")
    parser.add_argument("--store", action="append", choices=STORES, help="on which store; all four unless given")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="repeat this one trial, and keep its files")
    given = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="mlflow-phases-faults-"))
    os.environ.update(XDG_CACHE_HOME=str(root / "cache"), OMP_NUM_THREADS="1", MLFLOW_DISABLE_TELEMETRY="true")
    # A process that is killed leaves its semaphores to the one that looks after them, which says so.
    os.environ["PYTHONWARNINGS"] = "ignore::UserWarning:multiprocessing.resource_tracker"
    (root / "cache").mkdir()
    tallies: dict[str, Tally] = {}
    try:
        database = make_empty_database(root / "template.db")
        for name in given.store or STORES:
            with open_store(name, root / name, database) as store:
                numbers = range(given.trials) if given.only is None else [given.only]
                tallies[name] = kill_often(store, root / f"{name}-trials", given.seed, numbers, given.only is not None)
    finally:
        end_shared()
        if given.only is None:
            shutil.rmtree(root, ignore_errors=True)
        else:
            print(f"its files: {root}", file=sys.stderr)
    print(table(tallies))
    return int(any(tally.failures for tally in tallies.values()))


def kill_often(store: Store, folder: Path, seed: int, numbers: "range | list[int]", keep: bool = False) -> Tally:
    """Kills that many trainings. Each is drawn by seed, store and its number alone, so that it can be repeated."""
    began = said = time.monotonic()
    tally, twin = Tally(), make_twin(store, folder, counting=True)
    for number in numbers:
        try:
            kill_trial(store, folder / str(number), twin, Random(f"{seed}-{store.name}-{number}"), tally)
        except AssertionError as error:
            tally.failures.append(f"{store.name} {number}: {error}")
            print(tally.failures[-1], file=sys.stderr)
        if not keep:
            shutil.rmtree(folder / str(number), ignore_errors=True)
        if time.monotonic() - said > _SAY_EVERY_SECONDS:
            said = time.monotonic()
            print(f"{store.name}: {tally.trials} of {len(numbers)}, {said - began:.0f} s", file=sys.stderr, flush=True)
    return tally


def table(tallies: dict[str, Tally]) -> str:
    """The figures as a Markdown table."""
    head = ["store", "trainings", "kills", "at calls", "at lines", "by the clock", "went on from a checkpoint"]
    head += ["began anew", "was complete", "steps done again", "lost", "bad states", "other results", "other failures"]
    rows = [head, ["---"] * len(head)]
    for name, tally in tallies.items():
        promises = [tally.failed(f": {promise}:") for promise in ("lost", "bad state", "result")]
        figures = [
            tally.trials,
            sum(tally.kills.values()),
            *tally.kills.values(),
            tally.resumed,
            tally.anew,
            tally.reused,
        ]
        figures += [tally.done_again, *promises, len(tally.failures) - sum(promises)]
        rows.append([name, *map(str, figures)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    sys.exit(main())
