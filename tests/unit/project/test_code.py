import textwrap
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project import digests
from mlflow_plugin.project.code import code_digest
from mlflow_plugin.project.command import command_usage

SCRIPT = '''\
"""Trains."""
import math

def loss(values, scale=1.5):
    """Mean square."""
    total = 0  # starts empty
    for value in values:
        if value > 0 and not math.isnan(value):
            total += (value ** 2) * scale

    return {"loss": total / len(values), 'n': f"{len(values):>5}"}

class Model:
    "A model."
    rate = 1e-3
'''


SUB = ("pkg/__init__.py", "pkg/sub/__init__.py")


pytestmark = pytest.mark.usefixtures("cache_folder")


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path / "project")


class Project:
    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def write(self, **files: str) -> "Project":
        """`pkg__mod_py="..."` is pkg/mod.py; other names are given by `put`."""
        for name, text in files.items():
            self.put(name.replace("__", "/").replace("_py", ".py").replace("_sh", ".sh"), text)
        return self

    def put(self, name: str, text: str = "") -> "Project":
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        return self

    def files(self, command: str, code: list[str] | None = None) -> list[str]:
        return list(code_digest(self.folder, command, code).files)

    def digest(self, command: str = "python train.py", code: list[str] | None = None) -> str:
        return code_digest(self.folder, command, code).digest


def digest_of(project: Project, source: str) -> str:
    return project.put("train.py", source).digest()


@pytest.mark.parametrize(
    "edited",
    [
        SCRIPT.replace("  # starts empty", ""),
        SCRIPT.replace('"""Trains."""\n', ""),
        SCRIPT.replace('"""Mean square."""', '"""Square, then\n    mean."""'),
        SCRIPT.replace('    "A model."\n', ""),
        SCRIPT.replace("(value ** 2) * scale", "value**2 * scale"),
        SCRIPT.replace("'n'", '"n"'),
        SCRIPT.replace("\n\n", "\n\n\n\n"),
        SCRIPT.replace("values, scale=1.5", "\n    values,\n    scale=1.5,\n"),
        SCRIPT.replace("\n", "\r\n"),
        "\ufeff" + SCRIPT,
        SCRIPT.rstrip("\n"),
        SCRIPT.replace("1e-3", "0.001"),
    ],
)
def test_cosmetic_edits_keep_the_digest(project, edited):
    assert digest_of(project, SCRIPT) == digest_of(project, edited)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1.5", "1.6"),
        ("total = 0", "total = False"),
        ("total = 0", "total = 0.0"),
        ("value", "item"),
        ("value > 0", "value >= 0"),
        ('"loss"', '"Loss"'),
        ('"loss"', 'b"loss"'),
        (":>5", ":>6"),
        ("rate = 1e-3", "rate: float = 1e-3"),
        ("not math", "math"),
        ("scale=1.5", "*, scale=1.5"),
        ("import math", "import math\nimport sys"),
    ],
)
def test_edits_of_the_program_change_the_digest(project, old, new):
    assert digest_of(project, SCRIPT) != digest_of(project, SCRIPT.replace(old, new))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(st.integers(0, 15), st.sampled_from(["", "# a comment", "      # indented", "\t", "   "])), min_size=1
    )
)
def test_comments_and_blank_lines_anywhere_keep_the_digest(project, insertions):
    lines = SCRIPT.splitlines()
    for position, text in insertions:
        lines.insert(position, text)
    assert digest_of(project, SCRIPT) == digest_of(project, "\n".join(lines))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.one_of(st.integers(), st.floats(0), st.text(), st.binary(), st.booleans()),
    st.one_of(st.integers(), st.floats(0), st.text(), st.binary(), st.booleans()),
)
@example(1, True)
@example("\ud800", "\ud801")
def test_different_constants_give_different_digests(project, one, other):
    first = digest_of(project, f"x = {one!a}")
    second = digest_of(project, f"x = {other!a}")
    assert (first == second) == (type(one) is type(other) and repr(one) == repr(other))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(st.one_of(st.binary(), st.text().map(lambda text: text.encode("utf-8", "surrogatepass"))))
@example(b"x = '\x00'")
@example(b"# -*- coding: no-such-codec -*-\nx = 1")
@example(b"# coding: latin-1\nx = '\xe9'")
@example(b"x = 0x" + b"f" * 6000)
@example(b"x = " + b"9" * 6000)
@example(b"x = '\\d'")
def test_no_content_of_a_file_raises(project, content):
    (project.folder / "train.py").write_bytes(content)
    assert len(project.digest()) == 64


@pytest.mark.parametrize("source", ["x = " + "1 + " * 3000 + "{}", "x = " + "(" * 3000 + "{}" + ")" * 3000])
def test_deep_nesting_is_digested(project, source):
    one, other = (digest_of(project, "import helper\n" + source.format(n)) for n in (1, 2))
    assert one != other
    assert project.put("helper.py").files("python train.py") == ["helper.py", "train.py"]


def test_file_that_does_not_parse_counts_by_its_bytes_and_its_imports_by_line(project):
    broken = "import a\nfrom b import (\n  c,\n  d)\nfrom e import f as g, h  # x\nprint 'python 2'\n"
    for name in ("a", "b/__init__", "b/c", "b/d", "e/__init__", "e/f", "e/h", "unused"):
        project.put(f"{name}.py")
    first = digest_of(project, broken)
    assert digest_of(project, broken + "# comment\n") != first
    assert set(project.files("python train.py")) == {
        "train.py",
        "a.py",
        "b/__init__.py",
        "b/c.py",
        "b/d.py",
        "e/__init__.py",
        "e/f.py",
        "e/h.py",
    }


@pytest.mark.parametrize(
    ("statement", "reached"),
    [
        ("import helper", {"helper.py"}),
        ("import helper as h, os", {"helper.py"}),
        ("import pkg.sub.deep", {*SUB, "pkg/sub/deep.py"}),
        ("from pkg import name", {"pkg/__init__.py"}),
        ("from pkg import one", {"pkg/__init__.py", "pkg/one.py", "helper.py"}),
        ("from pkg.sub import deep as d", {*SUB, "pkg/sub/deep.py"}),
        ("from pkg.sub.deep import f", {*SUB, "pkg/sub/deep.py"}),
        ("from pkg.sub import *", {*SUB, "pkg/sub/deep.py", "pkg/sub/up.py", "pkg/one.py", "helper.py"}),
        ("from pkg.sub import up", {*SUB, "pkg/sub/up.py", "pkg/one.py", "helper.py"}),
        ("def f():\n    import helper", {"helper.py"}),
        ("if False:\n    try:\n        import helper\n    except ImportError:\n        pass", {"helper.py"}),
        ("import space.inner", {"space/inner.py"}),
        ("import installed_in_src", {"src/installed_in_src/__init__.py"}),
        ("import cycle_a", {"cycle_a.py", "cycle_b.py"}),
        ("import missing, numpy, json", set()),
        ("import mlflow_plugin.core", set()),
        ("from .. import outside\nfrom .....x import y\nfrom . import helper", {"helper.py"}),
    ],
)
def test_imports_are_followed_inside_the_project(project, statement, reached):
    project.write(
        helper_py="x = 1",
        pkg____init___py="",
        pkg__one_py="import helper",
        cycle_a_py="import cycle_b",
        cycle_b_py="import cycle_a",
        space__inner_py="",
    )
    for name, text in {
        "pkg/__init__.py": "",
        "pkg/sub/__init__.py": "",
        "pkg/sub/deep.py": "",
        "pkg/sub/up.py": "from .. import one",
        "src/installed_in_src/__init__.py": "",
        "mlflow_plugin/core.py": "",
        "mlflow_plugin/__init__.py": "",
        "train.py": statement,
    }.items():
        project.put(name, text)
    (project.folder.parent / "outside.py").write_text("")
    assert set(project.files("python train.py")) == reached | {"train.py"}


@pytest.mark.parametrize(
    ("command", "reached"),
    [
        ("python train.py --epochs {epochs} --data data.csv", {"train.py", "data.csv"}),
        ("python -u ./train.py", {"train.py"}),
        ("python train.py --config=conf/a.yaml", {"train.py", "conf/a.yaml"}),
        ("python train.py -c conf/a.yaml", {"train.py", "conf/a.yaml"}),
        ("python train.py && python tools/tool.py", {"train.py", "tools/tool.py", "tools/near.py"}),
        ("python train.py; cat data.csv|sort", {"train.py", "data.csv"}),
        ("python tools/tool.py", {"tools/tool.py", "tools/near.py"}),
        ("cd tools && python tool.py", {"tools/tool.py", "tools/near.py"}),
        ("python -m pkg.mod --n {n}", {"pkg/__init__.py", "pkg/mod.py"}),
        ("python -m pkg.prog", {"pkg/__init__.py", "pkg/prog/__init__.py", "pkg/prog/__main__.py"}),
        ("torchrun --nproc 2 -m pkg.mod", {"pkg/__init__.py", "pkg/mod.py"}),
        ("python pkg/prog", {"pkg/prog/__main__.py"}),
        ("python -c 'import pkg.mod; pkg.mod.run()'", {"pkg/__init__.py", "pkg/mod.py"}),
        ("bash run.sh", {"run.sh", "train.py"}),
        ('sh -c "python train.py"', {"train.py"}),
        ("PYTHONPATH=lib python uses_lib.py", {"uses_lib.py", "lib/inner.py"}),
        ("python train.py > data.csv 2>&1", {"train.py"}),
        ("python {script}", set()),
        ("python missing.py ../outside.py /etc/passwd .hidden/x.py", set()),
        ("python train.py 'unclosed", {"train.py"}),
        ("", set()),
        ("python 'train.py\0' \udcff", set()),
    ],
)
def test_files_that_a_command_names_count(project, command, reached):
    for name, text in {
        "train.py": "",
        "data.csv": "1",
        "conf/a.yaml": "a: 1",
        "tools/tool.py": "import near",
        "tools/near.py": "",
        "pkg/__init__.py": "",
        "pkg/mod.py": "",
        "pkg/prog/__init__.py": "",
        "pkg/prog/__main__.py": "",
        "run.sh": "#!/bin/bash\n# don't stop\nset -e\npython train.py\n",
        ".hidden/x.py": "",
        "{script}": "",
        "uses_lib.py": "import inner",
        "lib/inner.py": "",
    }.items():
        project.put(name, text)
    (project.folder.parent / "outside.py").write_text("")
    assert set(project.files(command)) == reached


def test_digest_does_not_depend_on_where_the_project_lies(tmp_path):
    one, other = Project(tmp_path / "one"), Project(tmp_path / "other")
    assert digest_of(one, SCRIPT) == digest_of(other, SCRIPT)


def test_touching_a_file_changes_nothing(project):
    first = digest_of(project, SCRIPT)
    (project.folder / "train.py").touch()
    assert project.digest() == first


def test_moving_code_to_another_file_changes_the_digest(project):
    project.put("train.py", "import a")
    first = project.put("a.py", "x = 1").digest()
    (project.folder / "a.py").rename(project.folder / "b.py")
    assert project.put("train.py", "import b").digest() != first


def test_other_files_count_byte_by_byte(project):
    project.put("train.py").put("conf.yaml", "a: 1")
    first = project.digest("python train.py conf.yaml")
    assert project.put("conf.yaml", "a: 1 # comment").digest("python train.py conf.yaml") != first


def test_listed_code_replaces_what_the_command_names(project):
    for name in ("train.py", "lib/a.py", "lib/b.txt", "lib/.git/x", "lib/__pycache__/a.py", "lib/a.pyc", "lib/.hidden"):
        project.put(name)
    assert project.files("python train.py", ["lib"]) == ["lib/a.py", "lib/b.txt"]
    assert project.files("python train.py", ["lib/a.py", "lib/../train.py", "lib/a.py"]) == ["lib/a.py", "train.py"]
    assert project.files("python train.py", []) == []


def test_the_store_inside_a_project_is_no_code(project):
    for name in ("train.py", "mlruns/0/meta.yaml", "mlflow.db", "mlflow.db-wal", "venv/x.py", ".venv/y.py"):
        project.put(name)
    assert project.files("python train.py", ["."]) == ["train.py"]


def test_the_experiment_log_which_grows_with_every_run_is_no_code(project):
    for name in ("train.py", "EXPERIMENT_LOG.md", ".EXPERIMENT_LOG.md.pending"):
        project.put(name)
    assert project.files("python train.py", ["."]) == ["train.py"]


@pytest.mark.parametrize("entry", ["missing.py", "../outside", "/etc", "a\0b"])
def test_bad_code_entry_is_named(project, entry):
    with pytest.raises(PhaseError, match="`code` lists") as caught:
        project.files("python train.py", [entry])
    assert repr(entry) in str(caught.value)


def test_unreadable_import_is_named(project):
    project.put("train.py", "import helper")
    (project.folder / "helper.py").symlink_to("nowhere")
    with pytest.raises(PhaseError, match=r"helper\.py cannot be read"):
        project.digest()


def test_warm_digest_of_twenty_files_is_fast(project, monkeypatch):
    body = textwrap.dedent(SCRIPT) * 20
    later = time.time_ns() + 10_000_000_000
    monkeypatch.setattr(digests.time, "time_ns", lambda: later)
    project.put("train.py", "\n".join(f"import m{i}" for i in range(19)))
    for i in range(19):
        project.put(f"m{i}.py", "import os, sys, json, numpy.linalg, torch.nn\n" + body)
    cold = project.digest()
    digests.flush()
    seconds = []
    for _ in range(5):
        start = time.process_time()
        assert project.digest() == cold
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.1


@pytest.mark.parametrize(
    ("command", "literal", "usage"),
    [
        ("python train.py --epochs {epochs}", "python train.py", {"epochs": "--epochs {epochs}"}),
        ("train --epochs {epochs} --lr {lr}", "train", {"epochs": "--epochs {epochs}", "lr": "--lr {lr}"}),
        ("python train.py --epochs={epochs} -v", "python train.py -v", {"epochs": "--epochs={epochs}"}),
        ("python  train.py\n  --flag \\\n --lr '{lr}'", "python train.py \n --flag", {"lr": "--lr '{lr}'"}),
        ('python train.py --lr "{lr}"', "python train.py", {"lr": '--lr "{lr}"'}),
        ("python train.py {epochs} {lr}", "python train.py", {"epochs": "@2 {epochs}", "lr": "@3 {lr}"}),
        ("run --range {epochs}:{lr}", "run --range", {"epochs": "@2 {epochs}:{lr}", "lr": "@2 {epochs}:{lr}"}),
        ("run --a {epochs} --b {epochs}", "run", {"epochs": "--a {epochs} --b {epochs}"}),
        ("run --{epochs} {lr}", "run", {"epochs": "--{epochs}", "lr": "@1 {lr}"}),
        ("awk '{{print {epochs}}}' {{lr}}", "awk {{lr}}", {"epochs": "@1 '{{print {epochs}}}'"}),
        ("run {unknown} --x {lr}", "run {unknown}", {"lr": "--x {lr}"}),
        ("run 'a b' \"c d\" e\\ f", "run 'a b' \"c d\" e\\ f", {}),
        ("run 'open {lr}", "run 'open", {"lr": "@2 {lr}"}),
        ("a.py --x {lr} && b.py", "a.py && b.py", {"lr": "--x {lr}"}),
        ("a.py && b.py --x {lr}", "a.py && b.py", {"lr": "--x {lr} of command 1"}),
        ("", "", {}),
    ],
)
def test_command_is_split_into_literal_part_and_usage(command, literal, usage):
    assert command_usage(command, ["epochs", "lr"]) == (literal, usage)


@given(st.lists(st.sampled_from("abcdef"), unique=True), st.permutations("abcdef"))
def test_adding_parameters_keeps_the_literal_part(fewer, every):
    def command(names: list[str]) -> str:
        return "python train.py --fast " + " ".join(f"--{name} {{{name}}}" for name in names)

    literal, usage = command_usage(command([name for name in every if name in fewer]), every)
    more_literal, more_usage = command_usage(command(list(every)), every)
    assert literal == more_literal
    assert usage == {name: more_usage[name] for name in fewer}


@given(st.text(alphabet="{}'\"\\ \n-a="))
def test_no_command_raises(command):
    literal, usage = command_usage(command, ["a"])
    assert isinstance(literal, str)
    assert set(usage) <= {"a"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("train.py {a} {b}", "train.py {b} {a}"),
        ("train.py {a} fast", "train.py fast {a}"),
        ("train.py {a} {b} fast", "train.py {a} fast {b}"),
        ("one.py --x {a} && two.py {b}", "one.py {b} && two.py --x {a}"),
        ("one.py --x={a} ; two.py", "one.py ; two.py --x={a}"),
        ("one.py --x {a}\n| two.py", "one.py\n| two.py --x {a}"),
    ],
)
def test_the_same_words_in_other_places_are_another_use(one, other):
    assert command_usage(one, "ab") != command_usage(other, "ab")
