import json

import shift
import witness
from redun import File, task

redun_namespace = "peers"


def written(name, text):
    file = File(name)
    file.write(text)
    return file


@task()
def draw() -> File:
    witness.executed("draw")
    return written("numbers.json", "[1, 2, 3]")


@task()
def scale(numbers: File, factor: int) -> File:
    # First draft.
    witness.executed("scale")
    return written("scaled.json", json.dumps([shift.shifted(factor * number) for number in json.loads(numbers.read())]))


@task()
def total(scaled: File) -> File:
    witness.executed("total")
    return written("total.json", str(sum(json.loads(scaled.read()))))


@task()
def report(total: File) -> File:
    witness.executed("report")
    return written("report.txt", f"total {total.read()}")


@task()
def main(factor: int, fresh: bool = False) -> File:
    return report(total(scale(draw.options(cache=not fresh)(), factor)))
