import sys
from pathlib import Path

import shift
import witness
from prefect import flow, task
from prefect.cache_policies import INPUTS, TASK_SOURCE

cached = task(cache_policy=INPUTS + TASK_SOURCE, persist_result=True)


@cached
def draw():
    witness.executed("draw")
    return [1, 2, 3]


@cached
def scale(numbers, factor):
    # First draft.
    witness.executed("scale")
    return [shift.shifted(factor * number) for number in numbers]


@cached
def total(scaled):
    witness.executed("total")
    return sum(scaled)


@cached
def report(value):
    witness.executed("report")
    return f"total {value}"


@flow
def pipeline(factor=2, fresh=False):
    return report(total(scale(draw.with_options(refresh_cache=fresh)(), factor)))


if __name__ == "__main__":
    Path("report.txt").write_text(pipeline(int(sys.argv[1]), fresh="fresh" in sys.argv))
