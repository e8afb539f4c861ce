"""Questions on the page, with real processes that wait: answered by mouse and by keyboard, by several people."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from simulation import Simulation

from mlflow_plugin.errors import NeedsAnswer
from mlflow_plugin.execution.prompt import question_text
from tests.end_to_end.dashboard.site import Site
from tests.end_to_end.dashboard.waiting import ask_about, waiting
from tests.servers.process import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.end_to_end
HOSTILE = "<img src=x onerror=alert(1)>"


def questions(page: "Page", site: Site, demo: Simulation) -> "Page":
    page.goto(site.address(demo.experiment_id, "questions"))
    page.locator("article").first.wait_for()
    return page


def words(text: str) -> str:
    """A text without its layout and punctuation between parts."""
    return " ".join(text.replace(",", " ").replace("|", " ").split())


def test_a_question_shows_what_the_terminal_shows(site: Site, browser_page: "Page") -> None:
    demo = ask_about(site.demo("as the terminal"))
    demo.compute("evaluate")
    verdict = demo.decide("train").verdict
    with waiting(demo):
        page = questions(browser_page, site, demo)
        for reason in verdict.reasons:
            assert words(reason) in words(page.locator(".reasons").inner_text())
        for option in verdict.options:
            shown = words(page.get_by_role("group", name=f"Option {option.letter}").inner_text())
            for text in (option.title, option.price(), *option.keeps):
                assert words(text) in shown
                assert text in question_text(verdict)
            for run in option.supersedes:
                assert words(run.sentence().replace(" UTC", "")) in shown
        assert any(option.supersedes for option in verdict.options)
        page.get_by_role("button", name="Answer A").click()
        page.get_by_text("Answered A)").wait_for()


def test_a_waiting_run_continues_within_two_seconds_of_the_click(site: Site, browser_page: "Page") -> None:
    demo = ask_about(site.demo("by mouse"))
    with waiting(demo) as (run_id, outcome):
        page = questions(browser_page, site, demo)
        page.get_by_role("button", name="Answer A").click()
        wait_until(lambda: outcome, "the phase went on", seconds=2)
        page.get_by_text("Answered A)").wait_for()
    run = demo.run(run_id)
    assert (run.answer, run.verdict) == ("A", "reuse")
    assert run.answered_by in page.locator(".answered").inner_text()
    assert run.answered_at is not None
    assert f"{run.answered_at:%Y-%m-%d %H:%M:%S}" in page.locator(".answered").inner_text()
    page.get_by_role("link", name="Pipeline").first.click()
    page.locator("a.card", has_text="train").wait_for()


def test_an_answer_that_supersedes_runs_is_confirmed_first_and_works_by_keyboard(
    site: Site, browser_page: "Page"
) -> None:
    demo = ask_about(site.demo("by keyboard"))
    with waiting(demo) as (run_id, outcome):
        page = questions(browser_page, site, demo)
        press_until(page, "Answer B")
        page.keyboard.press("Enter")
        confirm = page.get_by_role("button", name="Yes, option B")
        confirm.wait_for()
        assert "supersedes 1 finished run" in page.get_by_role("group", name="Confirm").inner_text()
        assert confirm.evaluate("button => button === document.activeElement")
        assert not demo.run(run_id).answer
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")  # Back
        again = page.get_by_role("button", name="Answer B")
        wait_until(lambda: again.evaluate("button => button === document.activeElement"), "the focus is back")
        assert not demo.run(run_id).answer
        page.keyboard.press("Enter")  # The focus is where it was before the first Enter.
        confirm.wait_for()
        page.keyboard.press("Enter")
        wait_until(lambda: outcome, "the phase went on")
        page.get_by_text("Answered B)").wait_for()
    assert demo.run(run_id).answer == "B"


def press_until(page: "Page", name: str) -> None:
    """Presses Tab until the control whose name begins so has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("(document.activeElement.getAttribute('aria-label') ?? '')").startswith(name):
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
            return
    raise AssertionError(f"no Tab leads to {name}")


def test_of_two_people_the_second_is_told_who_answered_first(site: Site, visit: Callable[..., Any]) -> None:
    demo = ask_about(site.demo("two people"))
    with waiting(demo) as (run_id, outcome):
        first, second = (visit(site.url) for _ in range(2))
        pages = [questions(visitor.page(), site, demo) for visitor in (first, second)]
        # The second has the question before them still: their page does not ask the server while nobody looks at it.
        pages[1].evaluate("Object.defineProperty(document, 'hidden', {value: true})")
        pages[0].get_by_role("button", name="Answer A").click()
        wait_until(lambda: outcome, "the phase went on")
        pages[1].get_by_role("button", name="Answer A").click()
        told = pages[1].locator(".answered")
        told.wait_for()
        assert "Somebody else answered first: A)" in told.inner_text()
        assert demo.run(run_id).answered_by in told.inner_text()
    second.excuse("409")


def test_a_question_whose_process_has_ended_shows_the_commands_to_type(site: Site, browser_page: "Page") -> None:
    demo = ask_about(site.demo("without its process"))
    with pytest.raises(NeedsAnswer):
        demo.settle("train")
    page = questions(browser_page, site, demo)
    page.get_by_text("The process that asked has ended.").wait_for()
    assert page.get_by_role("button", name="Answer A").count() == 0
    command = page.get_by_role("group", name="Command for option B").inner_text()
    assert command.startswith("mlflow run")
    assert "decide=rerun" in command


def test_a_reader_is_shown_no_buttons(site: Site, browser_page: "Page") -> None:
    demo = ask_about(site.demo("reader"))

    def as_reader(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "may_answer": False})

    browser_page.route("**/phases/pipeline*", as_reader)
    with waiting(demo):
        page = questions(browser_page, site, demo)
        page.get_by_text("Answering it needs permission").wait_for()
        assert page.get_by_role("button", name="Answer A").count() == 0


def test_hostile_texts_of_a_question_stay_texts(site: Site, browser_page: "Page") -> None:
    demo = site.demo(f"asked by {HOSTILE}")
    ask_about(demo)
    with pytest.raises(NeedsAnswer):
        demo.settle("train")
    page = browser_page

    def hostile(route: Any) -> None:
        content = route.fetch().json()
        (question,) = content["questions"]
        question["reasons"] = [HOSTILE]
        question["user"] = HOSTILE
        for option in question["options"]:
            option.update(title=HOSTILE, keeps=[HOSTILE], command=HOSTILE, price=HOSTILE)
        route.fulfill(json=content)

    page.route("**/phases/live*", hostile)
    questions(page, site, demo).get_by_text(HOSTILE).first.wait_for()
    assert page.locator("main img").count() == 0
    assert page.get_by_text(HOSTILE).count() >= 6
