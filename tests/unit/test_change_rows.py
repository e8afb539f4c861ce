"""The judgement of the comparison with other tools, and the rows that it is made of."""

from pathlib import Path

import pytest

from benchmarks.change_rows import ROWS
from benchmarks.change_rows.row import Forget, one
from benchmarks.peer_case import Reply, damage, judged
from benchmarks.peer_projects import TOOLS, Case
from benchmarks.peer_rows import first_variants, written_between_marks

PHASES, DVC = TOOLS[-1], TOOLS[0]
RAN, REUSED = Reply(0, "", ["train"]), Reply(0, "", [])


def test_every_row_has_a_name_of_its_own_and_tells_what_must_happen() -> None:
    assert len({row.key for row in ROWS}) == len(ROWS)
    assert {row.must for row in ROWS} <= {"run", "reuse", "run or ask", "mention"}


def test_all_numbers_but_those_left_out_have_a_row() -> None:
    # 20 needs Docker. 38 and 39 are about handing over, which each tool does in its own way:
    # tests/end_to_end/shapes/test_change_rows.py.
    wanted = {str(number) for number in range(1, 38)} - {"20"} | {"15a", "15b", "15c", "15d", "40"}
    assert {row.number for row in ROWS} == wanted


@pytest.mark.parametrize(
    ("must", "reply", "word"),
    [
        ("run", RAN, "right"),
        ("run", REUSED, "silently wrong"),
        ("run", Reply(1, "no such file", []), "stops"),
        ("run", Reply(3, "needs an answer", []), "asks"),
        ("run or ask", Reply(3, "needs an answer", []), "right"),
        ("run or ask", REUSED, "silently wrong"),
        ("reuse", REUSED, "right"),
        ("reuse", RAN, "wasteful"),
        ("mention", REUSED, "silently wrong"),
        ("mention", Reply(0, "made with vectors 1.0, here 2.0", []), "right"),
    ],
)
def test_an_answer_is_judged_by_what_the_row_demands(tmp_path: Path, must: str, reply: Reply, word: str) -> None:
    row = one("0", "a project", must, "return 'done'", (), says="vectors")
    assert judged(PHASES, Case(row, tmp_path), reply).word == word


def test_an_output_that_was_put_back_needs_no_new_run(tmp_path: Path) -> None:
    case = Case(one("0", "a project", "run", "return 'done'", (Forget("train"),)), tmp_path)
    assert judged(DVC, case, REUSED).word == "silently wrong"
    case.write("train.txt", "done")
    assert judged(DVC, case, REUSED).word == "right"


def test_damage_keeps_the_size(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("good good")
    damage(file, b"good", b"evil")
    assert file.read_text() == "evil evil"


def test_the_first_variant_of_every_number_comes_before_any_second() -> None:
    order = [ROWS[place].number for place in first_variants(ROWS)]
    numbers = list(dict.fromkeys(order))
    assert sorted(first_variants(ROWS)) == list(range(len(ROWS)))
    assert order[: len(numbers)] == numbers


def test_the_report_replaces_the_last_one_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench-peers -->\nold\n<!-- end of bench-peers -->\nafter\n")
    written_between_marks("new", page)
    assert page.read_text() == "before\n<!-- bench-peers -->\n\nnew\n\n<!-- end of bench-peers -->\nafter\n"
