"""Data by name: every schema understood, every malformed row told, samples by seed, the Hub only when asked."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lora_retraining.data.generator import generated_tasks
from lora_retraining.data.schemas import MalformedRowError, Origin, read_example
from lora_retraining.data.sources import GENERATED_COUNT, load_examples, load_tasks
from lora_retraining.data.tasks import write_tasks

from mlflow_plugin.errors import PhaseError

GSM8K = {"question": "Ann has 2 hens and buys 3. How many?", "answer": "She has 2+3=<<2+3=5>>5 hens.\n#### 5"}
MBPP = {
    "task_id": 7,
    "text": "Write a function to double a number.",
    "code": "import math\r\ndef twice(n):\r\n    return n * 2",
    "test_list": ["assert twice(2) == 4", "assert twice(limit) == 6"],
    "test_setup_code": "limit = 3",
    "challenge_test_list": [],
}
HUMAN_EVAL = {
    "task_id": "HumanEval/900",
    "prompt": 'def half(n):\n    """Half of n."""\n',
    "canonical_solution": "    return n / 2\n",
    "test": "def check(candidate):\n    assert candidate(4) == 2\n",
    "entry_point": "half",
}
CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def write_lines(file: Path, *records: Any) -> str:
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(file)


def turns(example: Any) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in example.row["messages"]]


def test_a_gsm8k_row_is_arithmetic_without_its_calculator_notes(tmp_path: Path) -> None:
    (example,) = load_examples(write_lines(tmp_path / "gsm8k_train.jsonl", GSM8K), "train")
    assert example.task is not None
    assert (example.task.kind, example.task.dataset, example.task.split) == ("math", "gsm8k", "train")
    assert turns(example) == [("user", GSM8K["question"]), ("assistant", "She has 2+3=5 hens.\n#### 5")]


def test_an_mbpp_row_shows_its_tests_and_is_graded_with_their_setup(tmp_path: Path) -> None:
    (task,) = load_tasks(write_lines(tmp_path / "my_mbpp.jsonl", MBPP), "test")
    assert (task.kind, task.dataset, task.id, task.entry_point) == ("code", "mbpp", "mbpp/7", "twice")
    assert "double a number" in task.prompt
    assert "assert twice(2) == 4" in task.prompt
    code = task.answer.removeprefix("```python\n").removesuffix("\n```")
    exec(f"{code}\n{task.tests}", {})
    with pytest.raises(AssertionError):
        exec(f"def twice(n): return 4\n{task.tests}", {})


def test_the_sanitized_mbpp_has_its_text_in_prompt_and_imports_of_its_own() -> None:
    record = {"task_id": 8, "prompt": "Round up.", "code": "import math\ndef up(x): return math.ceil(x)"}
    record |= {"test_list": ["assert up(math.pi) == 4"], "test_imports": ["import math"]}
    task = read_example(record, Origin("mbpp", "test", "x")).task
    assert task is not None
    assert task.tests == "import math\nassert up(math.pi) == 4"


def test_a_human_eval_row_is_asked_for_whole_and_keeps_what_a_bare_completion_continues(tmp_path: Path) -> None:
    (task,) = load_tasks(write_lines(tmp_path / "rows.jsonl", HUMAN_EVAL), "test")
    assert (task.id, task.entry_point, task.prefix) == ("HumanEval/900", "half", HUMAN_EVAL["prompt"])
    exec(f"{task.prefix}    return n / 2\n{task.tests}", {})
    exec(f"{task.answer.removeprefix('```python').removesuffix('```')}\n{task.tests}", {})
    with pytest.raises(AssertionError):
        exec(f"{task.prefix}    return n\n{task.tests}", {})


def test_humaneval_comes_with_its_package_and_is_a_test_set_only() -> None:
    tasks = load_tasks("humaneval", "test")
    assert (len(tasks), tasks[0].id, tasks[0].dataset) == (164, "HumanEval/0", "humaneval")
    for task in tasks[:20]:
        exec(f"{task.answer.removeprefix('```python').removesuffix('```')}\n{task.tests}", {})
    with pytest.raises(PhaseError, match="nothing of it to train on"):
        load_tasks("humaneval", "train")


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"messages": CHAT}, [("user", "Hi"), ("assistant", "Hello")]),
        ({"prompt": "Hi", "completion": "Hello"}, [("user", "Hi"), ("assistant", "Hello")]),
        ({"prompt": CHAT[:1], "completion": CHAT[1:]}, [("user", "Hi"), ("assistant", "Hello")]),
        ({"instruction": "Say", "output": "Hello"}, [("user", "Say"), ("assistant", "Hello")]),
        ({"instruction": "Say", "input": "it", "output": "Hello"}, [("user", "Say\n\nit"), ("assistant", "Hello")]),
        ({"question": "Hi", "answer": "Hello"}, [("user", "Hi"), ("assistant", "Hello")]),
    ],
)
def test_every_schema_becomes_a_chat_and_an_open_task(record: Any, expected: list[tuple[str, str]]) -> None:
    example = read_example(record, Origin("mine", "train", "mine/1"))
    assert turns(example) == expected
    assert example.task is not None
    assert (example.task.kind, example.task.id) == ("open", "mine/1")


@pytest.mark.parametrize("chat", [[*CHAT, *CHAT], [{"role": "system", "content": "Be brief."}, *CHAT]])
def test_a_chat_that_is_more_than_one_question_is_a_row_but_no_task(tmp_path: Path, chat: Any) -> None:
    file = write_lines(tmp_path / "rows.jsonl", {"messages": chat})
    (example,) = load_examples(file, "train")
    assert example.row["messages"] == chat
    assert load_tasks(file, "train") == []


def test_tasks_that_were_written_can_be_given_by_path(tmp_path: Path) -> None:
    tasks = generated_tasks("test", 6, seed=1)
    write_tasks(tasks, tmp_path / "tasks.jsonl")
    found = load_tasks(str(tmp_path / "tasks.jsonl"), "test")
    assert [(task.id, task.kind, task.prompt, task.tests) for task in found] == [
        (task.id, task.kind, task.prompt, task.tests) for task in tasks
    ]


def test_generated_tasks_come_by_name_as_many_as_asked_for() -> None:
    assert load_tasks("generated", "train", limit=5, seed=3) == generated_tasks("train", 5, seed=3)
    assert len(load_tasks("generated", "test")) == GENERATED_COUNT["test"]


def test_all_formats_hold_the_same_rows(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [{"question": f"How many, {number}?", "answer": f"So many\n#### {number}"} for number in range(5)]
    files = [tmp_path / name for name in ("rows.jsonl", "rows.json", "rows.parquet", "rows.csv")]
    write_lines(files[0], *rows)
    files[1].write_text(json.dumps(rows))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), files[2])
    lines = [f'"{row["question"]}","{row["answer"]}"' for row in rows]
    files[3].write_text("\n".join(["\ufeffquestion,answer", *lines]), encoding="utf-8")
    found = [[turns(example) for example in load_examples(str(file), "train")] for file in files]
    assert found[0] == [[("user", row["question"]), ("assistant", row["answer"])] for row in rows]
    assert found[1] == found[2] == found[3] == found[0]


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("\ufeff" + json.dumps(GSM8K), encoding="utf-8")
    assert len(load_tasks(str(tmp_path / "rows.jsonl"), "train")) == 1


def test_a_long_document_fits_into_a_cell(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(f"question,answer\nWhat?,{'x' * 200_000}\n")
    (task,) = load_tasks(str(tmp_path / "rows.csv"), "train")
    assert len(task.answer) == 200_000


def test_of_a_folder_the_files_of_the_split_are_taken_else_all(tmp_path: Path) -> None:
    write_lines(tmp_path / "train-00.jsonl", {**GSM8K, "question": "one"})
    write_lines(tmp_path / "train-01.jsonl", {**GSM8K, "question": "two"})
    write_lines(tmp_path / "test.jsonl", {**GSM8K, "question": "three"})
    (tmp_path / "notes.md").write_text("no data")
    assert [task.prompt for task in load_tasks(str(tmp_path), "train")] == ["one", "two"]
    assert [task.prompt for task in load_tasks(str(tmp_path), "test")] == ["three"]
    (tmp_path / "test.jsonl").unlink()
    assert [task.prompt for task in load_tasks(str(tmp_path), "test")] == ["one", "two"]


def test_every_malformed_row_is_listed_with_its_line_and_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    good = json.dumps({"id": "a", **GSM8K}).encode()
    wrong = {
        b'{"question": "half': "is not JSON",
        b'{"question": "Gr\xfc\xdfe", "answer": "x"}': "is not UTF-8: byte 17 of the line is 0xfc",
        b"[1, 2]": "is a list, not an object",
        b'{"frage": "x"}': "has the fields frage, which fit none of: messages",
        b'{"question": "x", "answer": 3}': "answer is a int, not a text",
        b'{"question": " ", "answer": "x"}': "question is empty",
        b'{"question": null, "answer": "x"}': "question is missing",
        b'{"messages": []}': "messages is not a list with at least one message",
        b'{"messages": [{"role": "user", "content": "x"}]}': "do not end with the assistant",
        b'{"messages": [{"role": "robot", "content": "x"}]}': "message 1 of messages has no role of system, user",
        b'{"messages": [{"role": "user", "content": 1}]}': "message 1 of messages: content is a int",
        b'{"text": "x", "code": "y", "test_list": "assert 1"}': "test_list is not a list of texts",
        b'{"question": "\\ud800", "answer": "x"}': "question holds half a character",
        good: "has the id 'a', as an earlier row has",
        b"[" * 100_000: "is not JSON",
    }
    file.write_bytes(b"\n".join([good, b"", *wrong]))
    with pytest.raises(PhaseError) as caught:
        load_tasks(str(file), "train")
    first, *lines, last = str(caught.value).splitlines()
    assert first == f"{len(wrong)} of {len(wrong) + 1} rows of {file} are malformed:"
    assert len(lines) == len(wrong)
    for number, (line, what) in enumerate(zip(lines, wrong.values(), strict=True), start=3):
        assert line.startswith(f"  line {number} ")
        assert what in line
    assert last.startswith("Fix or remove them")


def test_of_many_malformed_rows_the_first_are_described_and_all_others_counted_by_line(tmp_path: Path) -> None:
    bad: Any = {"question": "", "answer": "x"}
    file = write_lines(tmp_path / "rows.jsonl", *[bad] * 25, GSM8K, *[bad] * 3, GSM8K, bad)
    with pytest.raises(PhaseError, match="29 of 31 rows") as caught:
        load_tasks(file, "train", limit=1)
    assert "  line 20 question is empty\n  and 9 more: line 21-25, 27-29, 31\n" in str(caught.value)


def test_malformed_rows_of_a_folder_are_listed_with_their_file(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", GSM8K)
    (tmp_path / "b.csv").write_text("question,answer\none,two\nthree\nfour,five,six\n")
    with pytest.raises(PhaseError) as caught:
        load_tasks(str(tmp_path), "train")
    assert "  b.csv line 3 has not the columns" in str(caught.value)
    assert "  b.csv line 4 has not the columns" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.json", b"{}"),
        ("rows.json", b"["),
        ("rows.json", b"[" * 100_000),
        ("rows.parquet", b"PAR1 no"),
        ("rows.csv", b'a\n"open'),
        ("rows.csv", b"\xff"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PhaseError, match=rf"{name} cannot be read"):
        load_tasks(str(tmp_path / name), "train")


def test_no_rows_and_no_data_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "notes.md").touch()
    (tmp_path / "folder").mkdir()
    for name, message in [
        ("empty.jsonl", "holds no rows"),
        ("notes.md", "holds no data"),
        ("folder", "holds no data"),
        ("missing.jsonl", "no such file"),
        ("missing", "no such file"),
    ]:
        with pytest.raises(PhaseError, match=message):
            load_tasks(str(tmp_path / name), "train")


def test_a_limit_draws_a_sample_by_the_seed_in_the_files_order(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "rows.jsonl", *({**GSM8K, "question": str(number)} for number in range(100)))
    first = [int(task.prompt) for task in load_tasks(file, "train", limit=10, seed=1)]
    assert first == [int(task.prompt) for task in load_tasks(file, "train", limit=10, seed=1)] == sorted(first)
    assert first != [int(task.prompt) for task in load_tasks(file, "train", limit=10, seed=2)]
    assert len(set(first)) == 10
    assert len(load_tasks(file, "train", limit=1000)) == 100


def test_samples_take_every_row_alike(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "rows.jsonl", *({**GSM8K, "question": str(number)} for number in range(10)))
    drawn = [int(task.prompt) for seed in range(300) for task in load_tasks(file, "train", limit=3, seed=seed)]
    # 900 draws over 10 rows: 90 each, with a standard deviation of 8.
    assert all(50 < drawn.count(number) < 130 for number in range(10))


def test_rows_are_read_one_at_a_time(tmp_path: Path) -> None:
    examples = load_examples(write_lines(tmp_path / "rows.jsonl", GSM8K, {"question": ""}), "train")
    assert next(examples).task is not None
    with pytest.raises(PhaseError, match="line 2 has the fields question"):
        next(examples)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("gsm8k", ("openai/gsm8k", "main", "test")),
        ("mbpp", ("google-research-datasets/mbpp", "full", "test")),
        ("some/data", ("some/data", None, "test")),
        ("some/data:part", ("some/data", "part", "test")),
    ],
)
def test_other_names_are_asked_of_the_hub(monkeypatch: pytest.MonkeyPatch, name: str, asked: tuple[str, ...]) -> None:
    calls = []

    def load_dataset(identifier: str, configuration: str | None, split: str) -> list[Any]:
        calls.append((identifier, configuration, split))
        return [GSM8K]

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    (task,) = load_tasks(name, "test")
    assert calls == [asked]
    assert (task.dataset, task.kind, task.id) == (name, "math", f"{name}/test/1")


def test_a_hub_out_of_reach_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*asked: Any, **more: Any) -> None:
        raise ConnectionError("Couldn't reach the Hub")

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    with pytest.raises(PhaseError, match=r"openai/gsm8k.*Couldn't reach the Hub.*give a path"):
        load_tasks("gsm8k", "train")


SOME_FIELDS = [
    "id",
    "messages",
    "role",
    "content",
    "prompt",
    "completion",
    "question",
    "answer",
    "instruction",
    "input",
]
SOME_FIELDS += ["output", "text", "code", "test_list", "test_setup_code", "test_imports", "test", "entry_point"]
SOME_FIELDS += ["canonical_solution", "dataset", "kind", "tests", "prefix", "split"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(SOME_FIELDS), inner, max_size=6),
    max_leaves=12,
)


@given(JSON)
@settings(max_examples=400, deadline=None)
def test_any_record_is_an_example_or_malformed_and_never_a_traceback(record: Any) -> None:
    with suppress(MalformedRowError):
        example = read_example(record, Origin("mine", "train", "mine/1"))
        assert all(message["content"].strip() for message in example.row["messages"])
        json.dumps(example.row, ensure_ascii=False).encode()
