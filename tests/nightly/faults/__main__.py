"""The whole harness: `python -m tests.nightly.faults --trials 200 --store local --store s3 --seed 1`. Prints figures in
Markdown.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from random import Random

from mlflow_plugin.testing.store import empty_database
from tests.nightly.faults import damage, outages
from tests.nightly.faults.kills import Tally, kill_trial
from tests.nightly.faults.training import Training, make_reference
from tests.servers.proxy import Proxy
from tests.servers.shared import end_shared
from tests.servers.stores import STORES, Store, open_store

BROKEN = "a promise was broken"
_SAY_EVERY_SECONDS = 10.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.nightly.faults", description=__doc__)
    parser.add_argument("--trials", type=int, default=200, help="trainings to kill on each store")
    parser.add_argument("--store", action="append", choices=STORES, help="on which store; all four unless given")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--outage", type=float, default=60, help="seconds for which a store is unreachable")
    parser.add_argument("--only", type=int, help="repeat this one trial alone, and keep its files")
    given = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="mlflow-phases-faults-"))
    os.environ.update(XDG_CACHE_HOME=str(root / "cache"), OMP_NUM_THREADS="1", MLFLOW_DISABLE_TELEMETRY="true")
    # A process that is killed leaves its semaphores to the one that looks after them, which says so.
    os.environ["PYTHONWARNINGS"] = "ignore::UserWarning:multiprocessing.resource_tracker"
    (root / "cache").mkdir()
    tallies: dict[str, Tally] = {}
    outcomes: dict[str, dict[str, str]] = {}
    try:
        database = empty_database()
        for name in given.store or STORES:
            with open_store(name, root / name, database) as store:
                numbers = range(given.trials) if given.only is None else range(given.only, given.only + 1)
                folder = root / f"{name}-trials"
                tallies[name] = kill_often(store, folder, given.seed, numbers, given.only is not None)
                if given.only is None:
                    rng = Random(f"{given.seed}-{name}")
                    outcomes[name] = dict(disturb(store, folder, database, rng, given.outage))
    finally:
        end_shared()
        if given.only is None:
            shutil.rmtree(root, ignore_errors=True)
        else:
            print(f"its files: {root}", file=sys.stderr)
    print(table(tallies), outcome_table(outcomes), sep="\n\n")
    broken = any(BROKEN in found.values() for found in outcomes.values())
    return int(broken or any(tally.failures for tally in tallies.values()))


def disturb(store: Store, folder: Path, database: Path, rng: Random, outage: float) -> Iterator[tuple[str, str]]:
    """Everything but kills that this store can suffer, and how the training came through."""
    long = make_reference(store, folder / "damage-reference", steps=damage.STEPS)
    yield f"{len(damage.DAMAGES)} kinds of damage", outcome(lambda: damage.every_kind(store, folder / "damage", long))
    if store.remote_port:
        yield from _disturb_remote(store, folder, rng, outage)
    else:
        yield from _disturb_local(store, folder, database)


def _disturb_remote(store: Store, folder: Path, rng: Random, outage: float) -> Iterator[tuple[str, str]]:
    reference = make_reference(store, folder / "points", counting=True)
    with closing(Proxy(store.remote_port)) as proxy:
        training = Training(store.through(proxy), folder / "outage", reference)
        yield f"unreachable for {outage:.0f} s", outcome(lambda: outages.unreachable(training, proxy, outage))
    if store.server:
        for number in range(1, 6):
            killed = Training(store, folder / f"server-{number}", reference)
            yield f"server killed and restarted ({number})", outcome(partial(outages.server_killed, killed, rng))


def _disturb_local(store: Store, folder: Path, database: Path) -> Iterator[tuple[str, str]]:
    allowed = Training(store, folder / "permission", make_reference(store, folder / "permission-reference"))
    yield "permission lost", outcome(lambda: outages.permission_lost(allowed))
    wide = {"width": outages.WIDE}
    reference, disk = make_reference(store, folder / "wide-reference", **wide), folder / "disk"
    # Stores of their own: the database of this one may be larger than a file is allowed to grow to.
    with open_store("local", folder / "limited", database) as fresh:
        limited = Training(fresh, folder / "limit", reference, **wide)
        yield "files may not grow", outcome(lambda: outages.no_file_may_grow(limited))
    with outages.small_disk(disk, 64) as mounted, open_store("local", disk, database) as small:
        if mounted:
            full = Training(small, folder / "full", reference, **wide)
            yield "disk full, database and all", outcome(lambda: outages.full_disk(full, disk, 0))


def outcome(fault: Callable[[], str]) -> str:
    """How the training came through a fault."""
    try:
        return fault()
    except AssertionError as error:
        print(f"{BROKEN}: {error}", file=sys.stderr)
        return BROKEN


def kill_often(store: Store, folder: Path, seed: int, numbers: range, keep: bool = False) -> Tally:
    """Kill that many trainings. Each is drawn by seed, store and its number alone, so that it can be repeated."""
    began = said = time.monotonic()
    tally, reference = Tally(), make_reference(store, folder, counting=True)
    for number in numbers:
        try:
            kill_trial(store, folder / str(number), reference, Random(f"{seed}-{store.name}-{number}"), tally)
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


def outcome_table(outcomes: dict[str, dict[str, str]]) -> str:
    """Return the other faults of each store, and how the training survived them, as a Markdown table."""
    rows = [["store", "what was done to it", "the training"], ["---"] * 3]
    rows += [[name, fault, outcome] for name, found in outcomes.items() for fault, outcome in found.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    sys.exit(main())
