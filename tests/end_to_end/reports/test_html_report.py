"""The report: one file that opens anywhere, loads nothing, and shows what the page shows."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from mlflow_plugin.cli import main
from mlflow_plugin.reports.html_report import report_data, report_html
from mlflow_plugin.store import schema
from tests.servers.browser import chromium

DATA = re.compile(r'<script type="application/json" id="report-data">(.*?)</script>', re.DOTALL)
HOSTILE = '</script><script>window.hostile=1</script><img src=x onerror="window.hostile=1"><!--'


@pytest.fixture
def finished(demo):
    demo.compute("collect")
    for quality in (0.6, 0.75, 0.92):
        demo.compute("train", metrics={"fidelity": quality, "held_out": 0.9}, epochs=int(100 * quality))
    demo.compute("evaluate")
    demo.compute("collect", "other bytes", seed=1)
    return demo


def test_the_report_holds_what_the_page_asks_for_and_names_nothing_outside_itself(finished):
    text = report_html(finished.history())
    data = json.loads(DATA.search(text)[1])
    assert data["experiment_id"] == "0"
    assert [phase["phase"] for phase in data["pipeline"]["phases"]] == ["collect", "train", "evaluate"]
    assert len(data["runs"]["train"]["runs"]) == 3
    assert {"accounts", "recoverable", "questions", "project", "at"} <= set(data)
    outside = [link for link in re.findall(r'(?:src|href)="([^"]+)"', text) if not link.startswith("data:")]
    assert outside == []
    assert "phases/static" not in text
    assert len(text) < 600_000


def test_the_newest_runs_of_each_phase_are_in_it_and_no_more_than_asked_for(finished):
    runs = report_data(finished.history(), None, 2, 1.0).runs["train"]
    assert (len(runs.runs), runs.truncated) == (2, True)


def test_the_command_writes_it_and_says_how_large_it_is(finished, tmp_path):
    file = tmp_path / schema.REPORT_FILE
    told = CliRunner().invoke(main, ["report", "--project", str(finished.folder), "--output", str(file)])
    assert told.exit_code == 0
    assert re.fullmatch(rf"{re.escape(str(file))} written \(0\.\d MB\)\n", told.output)


@pytest.fixture
def report_file(finished, tmp_path):
    run_id = finished.latest("evaluate")
    finished.client.set_tag(run_id, schema.REASON, HOSTILE)
    finished.client.set_tag(finished.latest("train"), schema.QUARANTINED, HOSTILE)
    file = tmp_path / schema.REPORT_FILE
    file.write_text(report_html(finished.history()), encoding="utf-8")
    return file


_AS_A_BLOB = """text => {
  document.querySelector("iframe").src = URL.createObjectURL(new Blob([text], {type: "text/html"}));
}"""


def complaints_of(page):
    """Every error of the page's scripts, everything refused, and every request that leaves the file."""
    found = []
    inside = ("file:", "data:", "blob:")
    page.on("console", lambda message: found.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(inside) else found.append(request.url))
    return found


@pytest.mark.end_to_end
def test_the_report_opens_from_a_disk_without_a_network_and_shows_every_view(report_file):
    with chromium() as browser:
        page = browser.new_context(offline=True).new_page()
        complaints = complaints_of(page)
        page.goto(report_file.as_uri())
        page.get_by_text("A report of demo").wait_for()
        for view in ("Questions", "Money and time", "Recoverable runs", "Pipeline"):
            page.get_by_role("navigation").get_by_role("link", name=view).click()
            page.get_by_role("link", name=view, exact=False).and_(page.locator("[aria-current=page]")).wait_for()
        page.goto(f"{report_file.as_uri()}#/0/demo/phase/train")
        page.locator("canvas").wait_for()  # A plot of quality over time.
        assert page.evaluate("window.hostile") is None
        assert complaints == []


@pytest.mark.end_to_end
def test_the_report_works_in_a_frame_that_may_do_nothing_but_run_scripts(report_file):
    """As MLflow shows an artifact: without storage, without an origin."""
    with chromium() as browser:
        page = browser.new_context(offline=True).new_page()
        complaints = complaints_of(page)
        page.set_content("<iframe sandbox='allow-scripts' width='1000' height='800'></iframe>")
        page.evaluate(_AS_A_BLOB, report_file.read_text(encoding="utf-8"))
        frame = page.frame_locator("iframe")
        frame.get_by_text("A report of demo").wait_for()
        frame.get_by_role("link", name="Money and time").click()
        frame.get_by_role("heading", name="Money and time").wait_for()
        assert complaints == []


@pytest.mark.end_to_end
def test_the_report_can_be_read_without_javascript(report_file):
    with chromium() as browser:
        page = browser.new_context(offline=True, java_script_enabled=False).new_page()
        page.goto(report_file.as_uri())
        rows = [row.inner_text() for row in page.locator("table tr").all()]
        assert len(rows) == 4
        assert "quarantined" in rows[2]
        assert "window.hostile=1" in rows[2]  # As text.


STATIC = Path(__file__).resolve().parents[3] / "mlflow_plugin" / "dashboard" / "static"
INDEX = (STATIC / "index.html").read_text(encoding="utf-8")


def test_every_style_and_script_of_the_page_is_in_the_report(demo):
    text = report_html(demo.history())
    names = re.findall(r'<(?:link rel="stylesheet"|script) (?:href|src)="phases/static/([^"]+)"', INDEX)
    assert len(names) > 5
    assert not [name for name in names if (STATIC / name).read_text(encoding="utf-8").strip() not in text]
    (import_map,) = re.findall(r'<script type="importmap">(.*?)</script>', text)
    own = {f"phases/{file.name}" for file in STATIC.glob("*.js")}
    assert own - set(json.loads(import_map)["imports"]) == {"phases/stock-links.js", "phases/theme.js"}


def test_markup_in_names_and_reasons_is_text_in_the_report(report_file):
    page = report_file.read_text(encoding="utf-8")
    assert HOSTILE not in page
    assert "&lt;img src=x" in page.partition("<noscript>")[2]


def test_the_pages_files_are_all_of_kinds_that_the_report_can_hold():
    assert set(re.findall(r"<(\w+)[^>]*phases/static/", INDEX)) == {"link", "script"}
    dynamic = [file.name for file in STATIC.glob("*.js") if re.search(r"\bimport\(|import\.meta", file.read_text())]
    assert dynamic == ["stock-links.js"] or dynamic == []
