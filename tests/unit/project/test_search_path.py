"""Folders that a Python file puts on `sys.path` are found without running it."""

import ast
import doctest

import pytest

from mlflow_plugin.project import search_path
from mlflow_plugin.project.search_path import PathEntry, path_entries

FILE = "file"
CWD = "cwd"


@pytest.mark.parametrize(
    ("lines", "entry"),
    [
        ("sys.path.insert(0, '../common')", (CWD, "../common")),
        ("sys.path.append('/shared')", (CWD, "/shared")),
        ("sys.path.extend(['../common'])", (CWD, "../common")),
        ("sys.path += ['../common']", (CWD, "../common")),
        ("if True:\n    sys.path.append(os.getcwd() + '/..')", (CWD, "..")),
        ("sys.path.append(os.path.dirname(__file__))", (FILE, ".")),
        ("sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))", (FILE, "..")),
        ("sys.path.append(os.path.join(os.path.dirname(__file__), os.pardir, 'common'))", (FILE, "../common")),
        ("sys.path.append(os.path.abspath(os.path.join(__file__, '../../common')))", (FILE, "../common")),
        ("sys.path.append(os.path.dirname(__file__) + '/../common')", (FILE, "../common")),
        ("sys.path.append(str(Path(__file__).resolve().parent.parent / 'common'))", (FILE, "../common")),
        ("sys.path.append(str(pathlib.Path(__file__).parents[2].joinpath('a', 'b')))", (FILE, "../../a/b")),
        ("HERE = Path(__file__).parent\nsys.path.append(os.fspath(HERE / '..'))", (FILE, "..")),
        ("sys.path.append(str(Path(__file__).parent / '/shared'))", (CWD, "/shared")),
    ],
)
def test_paths_of_literals_and_the_file_are_understood(lines, entry):
    assert path_entries(ast.parse(lines)) == [PathEntry(*entry)]


@pytest.mark.parametrize(
    "lines",
    [
        "sys.path.append(input())",
        "sys.path.append(name)",
        "name = name\nsys.path.append(name)",
        "sys.path.append(os.environ['HOME'])",
        "sys.path.append(str(Path(__file__).parents[n]))",
        "sys.path.append(str(Path(__file__).parents[-1]))",
        "sys.path.append('a' / Path(__file__))",
        "sys.path.append(f'{folder}/x')",
        "sys.path.append(5)",
        "sys.path.append()",
        "sys.path.append(**{})",
        "sys.path.append(Path.home())",
        "sys.path.append((lambda: 1)())",
        "sys.path.extend(folders)",
        "sys.path.remove('../common')",
        "path.append('../common')",
        "os.path.join('a', 'b')",
        "sys.path.append(" + "(" * 90 + "'a'" + " + 'b')" * 90 + ")",
    ],
)
def test_anything_else_is_left_out(lines):
    assert path_entries(ast.parse(lines)) == []


def test_the_examples_are_true():
    assert doctest.testmod(search_path).failed == 0
