"""Texts of a store reach a terminal through one of four places, and each of them shows what a terminal would obey."""

import ast
import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.text import Text

import mlflow_plugin
from mlflow_plugin.cli.group import PhasesGroup
from mlflow_plugin.cli.output import say
from mlflow_plugin.cli.status_screen import PrintableConsole
from mlflow_plugin.errors import UsageError
from mlflow_plugin.execution import prompt
from mlflow_plugin.markdown import printable
from mlflow_plugin.progress import MessageFilter, Progress, attach_terminal_handler

ROOT = Path(mlflow_plugin.__file__).parent
HOSTILE = "run \x1b[2J\x1b]0;owned\x07\x9b31m\r\x00 \u202egnp.exe\u2066 \u200b\u2028 \udcff\n  next line"
SHOWN = "run U+001B[2JU+001B]0;ownedU+0007U+009B31mU+000DU+0000 U+202Egnp.exeU+2066 U+200BU+2028 U+DCFF\n  next line"
PRINTING = {
    "cli/output.py",
    "cli/status_screen.py",  # Its console makes every text printable.
    "execution/prompt.py",
    "progress.py",
    "machine/environment_facts.py",  # Facts about this machine as JSON, for another process.
    "reports/state_schema.py",  # A JSON schema, for a developer.
}


def _prints(tree: ast.AST) -> Iterator[str]:
    """Yield the calls that write to a terminal."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("print", "click.echo", "click.secho", "Console", "sys.stdout.write", "sys.stderr.write"):
                yield f"line {node.lineno}: {called}"


@pytest.mark.parametrize("file", sorted(ROOT.rglob("*.py")), ids=lambda file: file.relative_to(ROOT).as_posix())
def test_only_the_places_that_make_texts_printable_print(file: Path) -> None:
    if "injected" not in file.parts and file.relative_to(ROOT).as_posix() not in PRINTING:
        assert list(_prints(ast.parse(file.read_text(encoding="utf-8")))) == []


def test_a_text_is_printable_and_keeps_its_lines() -> None:
    assert printable(HOSTILE) == SHOWN
    assert printable(SHOWN) == SHOWN
    assert printable("größer\tals 日本語 ✓\n") == "größer\tals 日本語 ✓\n"


def test_a_command_prints_it_and_its_error_printable() -> None:
    @PhasesGroup().command()
    def hostile() -> None:
        say(HOSTILE)
        raise UsageError(HOSTILE)

    group = PhasesGroup(commands={"hostile": hostile})
    result = CliRunner().invoke(group, ["hostile"])
    assert (result.exit_code, result.output) == (2, f"{SHOWN}\nmlflow-phases: {SHOWN}\n")


def test_a_screen_shows_it_printable_and_keeps_its_own_colours() -> None:
    console = PrintableConsole(file=io.StringIO(), force_terminal=True, width=200, legacy_windows=False)
    console.print(Text(f"{HOSTILE}", style="red"))
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[31m" in written
    assert "U+001B[2J" in written
    assert "\x1b[2J" not in written


def test_a_question_shows_it_printable(capsys: pytest.CaptureFixture[str]) -> None:
    prompt._say(HOSTILE)
    assert capsys.readouterr().err == SHOWN


def test_progress_shows_it_printable() -> None:
    loop = Progress(HOSTILE, 3)
    loop.advance(HOSTILE)
    assert (loop.description, loop.state().endswith(SHOWN)) == (SHOWN, True)


@pytest.fixture
def package_logger() -> Iterator[logging.Logger]:
    """Yield the logger of the package as it is after an import, without handlers that tests put there."""
    logger = logging.getLogger("mlflow_plugin")
    before = (list(logger.handlers), logger.propagate, logger.level)
    logger.handlers[:] = [one for one in logger.handlers if isinstance(one, MessageFilter)]
    logger.propagate = True
    logger.setLevel(logging.NOTSET)
    yield logger
    logger.handlers[:], logger.propagate = before[0], before[1]
    logger.setLevel(before[2])


def test_a_message_is_printable_at_the_terminal(
    package_logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    handlers, root.handlers[:] = list(root.handlers), []
    try:
        attach_terminal_handler()
        logging.getLogger("mlflow_plugin.store.history").warning("%s", HOSTILE)
    finally:
        root.handlers[:] = handlers
    assert capsys.readouterr().err == f"[phases] warning: {SHOWN}\n"


def test_a_message_and_a_traceback_are_printable_for_the_handlers_of_an_application(
    package_logger: logging.Logger,
) -> None:
    seen = io.StringIO()
    handler = logging.StreamHandler(seen)
    logging.getLogger().addHandler(handler)
    try:
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            logging.getLogger("mlflow_plugin.dashboard.routes").exception("%s %s", "GET", HOSTILE)
    finally:
        logging.getLogger().removeHandler(handler)
    assert seen.getvalue().startswith(f"GET {SHOWN}\nTraceback")
    assert f"ValueError: {SHOWN}\n" in seen.getvalue()


def test_without_any_handler_a_warning_goes_where_it_went_before(
    package_logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    handlers, root.handlers[:] = list(root.handlers), []
    try:
        logging.getLogger("mlflow_plugin.phase").warning(HOSTILE)
        logging.getLogger("mlflow_plugin.phase").info("not shown")
    finally:
        root.handlers[:] = handlers
    assert capsys.readouterr().err == f"{SHOWN}\n"
