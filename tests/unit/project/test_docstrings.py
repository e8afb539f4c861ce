"""Docstrings count where something reads them, and nowhere else."""

from collections.abc import Callable

import pytest

from mlflow_plugin.project.code import code_digest

HELPER = '"""Help."""\n\n\nclass Prompt:\n    """Be brief."""\n\n\ndef tool():\n    """Add two numbers."""\n'

Digest = Callable[..., str]


@pytest.fixture
def digest(tmp_path, cache_folder) -> Digest:
    """Return a function that writes a script and a helper that it imports, and gives the digest of both."""
    project = tmp_path / "project"
    project.mkdir()

    def of(script: str, helper: str = HELPER, code: list[str] | None = None) -> str:
        (project / "train.py").write_text(f'"""Usage: train [--fast]"""\nimport helper\n{script}\n')
        (project / "helper.py").write_text(helper)
        return code_digest(project, "python train.py", code).programs

    return of


EDITS = {
    "module": HELPER.replace("Help.", "Assist."),
    "class": HELPER.replace("Be brief.", "Be verbose."),
    "function": HELPER.replace("Add two", "Multiply two"),
}


@pytest.mark.parametrize("code", [None, ["."]])
@pytest.mark.parametrize(
    ("script", "read"),
    [
        ("print(helper.Prompt)", set()),
        ("print(__doc__)", set()),
        ("print('helper.__doc__')", set()),
        ("print(helper.Prompt.__doc__)", {"module", "class", "function"}),
        ("import inspect\nprint(inspect.getdoc(helper.tool))", {"module", "class", "function"}),
        ("from inspect import getdoc\nprint(getdoc(helper.tool))", {"module", "class", "function"}),
        ("import pydoc\npydoc.render_doc(helper)", {"module", "class", "function"}),
    ],
)
def test_docstrings_of_other_files_count_when_a_file_reads_them(digest, script, read, code):
    before = digest(script, code=code)
    assert {name for name, edited in EDITS.items() if digest(script, edited, code) != before} == read


@pytest.mark.parametrize("library", ["dspy", "fire", "langchain_core.tools", "docopt"])
def test_all_docstrings_of_a_file_count_that_imports_a_library_which_reads_them(digest, library):
    helper = f"{HELPER}\nimport {library}\n"
    before = digest("", helper)
    for edited in EDITS.values():
        assert digest("", f"{edited}\nimport {library}\n") != before
    unread = 'def f():\n    """{} This file imports no such library."""\n    return 1'
    assert digest(unread.format("One."), helper) == digest(unread.format("Two."), helper)


def test_the_docstring_of_a_module_counts_where_the_module_reads_it(digest):
    helper = f"{HELPER}\nprint(__doc__)\n"
    before = digest("", helper)
    changed = {name for name, edited in EDITS.items() if digest("", f"{edited}\nprint(__doc__)\n") != before}
    assert changed == {"module"}


def test_layout_and_comments_do_not_count_beside_docstrings_that_are_read(digest):
    script = "print(helper.Prompt.__doc__)"
    assert digest(script, f"# a comment\n{HELPER}\n\n") == digest(script)


def test_a_docstring_that_moves_to_another_function_is_a_change(digest):
    script = "print(helper.tool.__doc__)"
    one = 'def a():\n    """Text."""\n    return 1\n\ndef b():\n    return 1\n'
    other = 'def a():\n    return 1\n\ndef b():\n    """Text."""\n    return 1\n'
    assert digest(script, one) != digest(script, other)
