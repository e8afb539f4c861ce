"""Generate a small set of arithmetic and code tasks: enough to show the effect of a retraining, and free to share.

Arithmetic: ten families of word problems in two steps, each in two wordings, answered as in GSM8K (the steps, then
`#### 42`). Code: fourteen families of one-line functions, asked for as in MBPP, with one test shown and two more that
only grading uses. Names, things and numbers are drawn at random.

The splits share the families and no name: people, things, functions and arguments of the one never stand in the other,
and no wording of a code family is put into the same request in both. So what is learnt can show in the test split,
while no test task stands in the train split, even nearly, by the measure of `overlap.py`.
"""

import random
from collections.abc import Iterable
from typing import Any

from lora_retraining.data.families import ARITHMETIC, CODE
from lora_retraining.data.tasks import Split, Task, task_row

DATASET = "generated"

PEOPLE: dict[Split, tuple[str, ...]] = {
    "train": ("Mia", "Tom", "Ana", "Ben", "Ivo", "Lea", "Sam", "Zoe", "Max", "Eva", "Raj", "Kim", "Leo", "Ida"),
    "test": ("Nina", "Carl", "Vera", "Hugo", "Maya", "Emil", "Tara", "Jens"),
}
THINGS: dict[Split, tuple[str, ...]] = {
    "train": ("apples", "pencils", "stamps", "marbles", "shells", "coins", "stickers", "cards", "books", "cups"),
    "test": ("pears", "buttons", "stones", "ribbons", "plates"),
}
VERBS: dict[Split, tuple[str, ...]] = {
    "train": ("get", "find", "compute", "make", "pick", "return", "build", "give"),
    "test": ("derive", "obtain", "produce", "fetch", "extract"),
}
NOUNS = ("result", "answer", "output", "value", "part", "outcome", "thing", "solution")
LIST_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("numbers", "values", "data", "nums", "readings"),
    "test": ("figures", "amounts", "entries"),
}
TEXT_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("text", "sentence", "line", "string", "title"),
    "test": ("phrase", "passage", "message"),
}
VOCABULARY = ("red", "tree", "moon", "river", "stone", "bird", "garden", "sun", "table", "winter", "cloud", "song")
REQUESTS = (
    "Write a Python function `{f}` that {what}. It must pass this test:\n{test}",
    "Write a Python function called `{f}`. It {what}. For example:\n{test}",
)


def generated_tasks(split: Split, count: int, seed: int) -> list[Task]:
    """Return the first `count` tasks of a split, arithmetic and code in turn, without repetition.

    The same split, count and seed give the same tasks on any machine. A larger count gives the same tasks and more.
    """
    source = random.Random(f"{DATASET} {split} {seed}")
    tasks: list[Task] = []
    prompts: set[str] = set()
    while len(tasks) < count:
        make = _arithmetic if len(tasks) % 2 == 0 else _code
        task = make(source, split, f"{DATASET}/{split}/{seed}/{len(tasks)}")
        if task.prompt not in prompts:
            prompts.add(task.prompt)
            tasks.append(task)
    return tasks


def training_rows(tasks: Iterable[Task]) -> list[dict[str, Any]]:
    """Return tasks as rows `{"id", "messages"}` to train on."""
    return [task_row(task) for task in tasks]


def _arithmetic(source: random.Random, split: Split, identifier: str) -> Task:
    family = source.choice(ARITHMETIC)
    numbers = family.draw(source)
    name, other = source.sample(PEOPLE[split], 2)
    prompt = source.choice(family.wordings).format(n=name, m=other, i=source.choice(THINGS[split]), **numbers)
    lines, values = [], dict(numbers)
    for operator, left, right in family.steps:
        values["last"], line = _step(operator, values[left], values[right])
        lines.append(line)
    return Task(identifier, DATASET, "math", split, prompt, f"{' '.join(lines)}\n#### {values['last']}")


def _step(operator: str, left: int, right: int) -> tuple[int, str]:
    value = {"+": left + right, "-": left - right, "*": left * right, "/": left // right}[operator]
    return value, f"{left} {operator} {right} = {value}."


def _code(source: random.Random, split: Split, identifier: str) -> Task:
    family = source.choice(CODE)
    names, draw = (LIST_NAMES, _numbers) if family.takes == "list" else (TEXT_NAMES, _sentence)
    name = f"{source.choice(VERBS[split])}_{source.choice(NOUNS)}"
    c, d = source.randint(*family.between), source.randint(1, 9)
    cases: list[tuple[Any, Any]] = []
    while len({repr(expected) for _, expected in cases}) < 2:  # else a constant would pass
        cases = [(value, family.expected(value, c, d)) for value in (draw(source) for _ in range(3))]
    tests = [f"assert {name}({value!r}) == {expected!r}" for value, expected in cases]
    parts: dict[str, Any] = {"a": source.choice(names[split]), "c": c, "d": d}
    wording = source.randrange(len(family.wordings))
    request = REQUESTS[(wording + (split == "test")) % len(REQUESTS)]
    prompt = request.format(f=name, what=family.wordings[wording].format(**parts), test=tests[0])
    answer = f"```python\ndef {name}({parts['a']}):\n    return {family.body.format(**parts)}\n```"
    return Task(identifier, DATASET, "code", split, prompt, answer, "\n".join(tests), name)


def _numbers(source: random.Random) -> list[int]:
    return [source.randint(0, 12) for _ in range(source.randint(3, 5))]


def _sentence(source: random.Random) -> str:
    return " ".join(source.choice(VOCABULARY) for _ in range(source.randint(2, 4)))
