"""One change to a finished project of any shape, and what must be computed then. The numbers are those of the rows.

Each change says which steps are computed again by `-b phases`, what the evaluation shows afterwards, and what is said.
`left_out` names the shapes that a row does not apply to, with the reason.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.end_to_end.four_shapes.shaped import Shaped
from tests.end_to_end.four_shapes.steps import elsewhere

NOTHING: tuple[str, ...] = ()
TRAIN = ("train", "evaluate")
BASELINE = ("baseline", "evaluate")
EVALUATE = ("evaluate",)
ALL = ("prepare", "baseline", "train", "evaluate")
ALL_SHAPES = ("hydra", "by_disk", "by_artifact", "file_per_step")


@dataclass(frozen=True)
class Change:
    """A change, and what must follow.

    Attributes:
        row: the number of the row.
        title: the change in few words.
        make: makes it.
        computed: the steps that are computed then.
        shows: a text of the evaluation afterwards.
        says: a text of the reason.
        mentions: a text of the reason of a reuse.
        given: parameters of the call.
        main: whether `main.py` is executed where it calls the steps: where a step is computed, unless said.
        left_out: shapes without this row, and why.
    """

    row: str
    title: str
    make: Callable[[Shaped], object]
    computed: tuple[str, ...] = TRAIN
    shows: str = ""
    says: str = ""
    mentions: str = ""
    given: Mapping[str, str] = field(default_factory=dict)
    main: bool | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.row}: {self.title}"

    def parameters(self) -> dict[str, str]:
        """Return the parameters of the call."""
        return {name: value.replace("ELSEWHERE", str(elsewhere())) for name, value in self.given.items()}

    def expected(self, shaped: Shaped) -> list[str]:
        """Return the scripts that must be executed, sorted."""
        main = bool(self.computed) if self.main is None else self.main
        return sorted([*self.computed, *(["main"] if main and shaped.shape.calls else [])])


def check(shaped: Shaped, *changes: Change) -> None:
    """Make changes, ask for the whole project, and ask once more: then nothing is left to do."""
    given: dict[str, str] = {}
    for change in changes:
        change.make(shaped)
        given |= change.parameters()
    done = shaped.run(**given)
    assert done.exit_code == 0, done.text
    assert sorted(shaped.executed()) == sorted({script for change in changes for script in change.expected(shaped)})
    evaluated = shaped.evaluated()
    assert not [change.name for change in changes if change.shows not in evaluated], evaluated
    assert not [change.name for change in changes if change.mentions not in done.text], done.text
    settled = shaped.plan(**given)
    assert "nothing to compute" in settled, settled


def check_plan(shaped: Shaped, change: Change) -> None:
    """Make a change and ask what would be computed, which starts no process."""
    change.make(shaped)
    plan = shaped.plan(**change.parameters())
    calls = shaped.shape.calls
    assert ("nothing to compute" in plan) is not (change.expected(shaped)), plan
    assert (change.says or change.mentions) in plan, plan
    first = next(iter(change.computed), "")
    if calls and first:
        assert "main: run" in plan, plan
    by_main = change.given or change.main
    for step in ALL:
        run = f"  step src/{step}: would run now" if calls else f"{step}: run\n"
        if step == first and not (calls and by_main):
            assert run in plan, plan
        elif step not in (*change.computed, "evaluate"):
            assert run not in plan, plan


def write(step: str, name: str, text: str) -> Callable[[Shaped], None]:
    return lambda shaped: shaped.put(step, name, text)


def replace(step: str, name: str, old: str, new: str) -> Callable[[Shaped], None]:
    return lambda shaped: shaped.edit(step, name, old, new)


def data(row: str, name: str, shows: str, text: str = "2") -> Change:
    return Change(row, name, write("train", name, text), shows=shows, says=name)


def native(name: str, shows: str) -> Change:
    return Change("6", name, lambda shaped: shaped.make_native(2, name), BASELINE, shows, name)


def nothing(_: Shaped) -> None:
    pass


def _larger_model(shaped: Shaped) -> None:
    shaped.put("train", "conf/model/large.yaml", "width: 3\n")
    shaped.put("train", "conf/config.yaml", "defaults:\n- model: large\n")


def _same_bytes(shaped: Shaped) -> None:
    path = shaped.path("train", "data.csv")
    shutil.copy(path, shaped.path("train", "new"))
    os.replace(shaped.path("train", "new"), path)
    os.utime(shaped.path("train", "child.csv"))


def _moved(shaped: Shaped) -> None:
    shaped.path("train", "moved").mkdir()
    shaped.path("train", "helper.py").rename(shaped.path("train", "moved/helper.py"))
    shaped.edit("train", "train.py", "from helper import", "from moved.helper import")


def _crlf(shaped: Shaped) -> None:
    for name in ("judge.sql", "judge.yaml", "evaluate.py"):
        path = shaped.path("evaluate", name)
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def _elsewhere(shaped: Shaped) -> None:
    """Go on in a copy of the project that lies elsewhere, with its data under another path."""
    copy = shaped.repository / "copy"
    for name in (".git", "project", "common", "outside"):
        shutil.copytree(shaped.repository / name, copy / name, symlinks=True)
    shutil.copytree(shaped.repository / "data_root", shaped.repository / "other_root")
    shutil.rmtree(shaped.repository / "data_root")
    shaped.move(copy / "project")
    shaped.monkeypatch.setenv("DATA", str(shaped.repository / "other_root"))


def _install(shaped: Shaped) -> None:
    shaped.install("2.0")
    shaped.monkeypatch.syspath_prepend(str(shaped.train / "site-packages"))


ONLY_CALLS = dict.fromkeys(ALL_SHAPES[1:], "no script calls the steps: rows 1 to 18 have the change of a script")

READS = (
    data("1", "data.csv", "data=2"),
    data("2", "data/one.csv", "joined=2"),
    data("2", "beside.csv", "beside=2"),
    data("3", "conf/model/small.yaml", "yaml=2", "width: 2\n"),
    Change("3", "another default in conf/config.yaml", _larger_model, shows="yaml=3"),
    data("3", "settings.toml", "toml=2", "rate = 2\n"),
    Change(
        "3",
        "a file of the configuration that main.py composes",
        lambda shaped: shaped.project.write({"config/data/default.yaml": "first_seed: 5\n"}),
        ALL,
        "seed=5 raw=1",
        "config/data/default.yaml",
        main=True,
        left_out=dict.fromkeys(ALL_SHAPES[1:], "no script composes a configuration for all steps"),
    ),
    data("4", "query.sql", "sql=2", "SELECT 2\n"),
    data("4", "prompts/ask.j2", "prompt=1and2", "{{ n }}and2"),
    Change(
        "4",
        "settings.json, which names another file",
        lambda shaped: (
            shaped.put("train", "data/two.csv", "7"),
            shaped.put("train", "settings.json", '{"split": "two"}'),
        ),
        shows="joined=7",
    ),
    Change("5", "a file is added", write("train", "images/three.png", "3"), shows="images=one.png1three.png3two.png1"),
    Change(
        "5",
        "a file is removed",
        lambda shaped: shaped.path("train", "images/two.png").unlink(),
        shows="images=one.png1 ",
    ),
    Change("5", "a file is changed", write("train", "images/two.png", "2"), shows="images=one.png1two.png2"),
    native("rows.csv", "pandas=2"),
    native("rows.parquet", "parquet=2"),
    native("rows.h5", "hdf5=2"),
    native("rows.npy", "mapped=2"),
    native("rows.db", "sqlite=2"),
    # Nothing of these is in the model, so what is made from it stays.
    Change("7", "`cat` in the command", write("train", "notes.txt", "2"), ("train",)),
    Change("7", "`awk` in the command", write("train", "table.awk", "2\n"), ("train",)),
    Change("7", "`$(dirname $0)/../count.py`", write("train", "count.py", "print(2)\n"), ("train",)),
    data("8", "child.csv", "child=2"),
    data("8", "pooled.csv", "pooled=2"),
    Change("8", "`make` reads it", write("train", "limits.txt", "2"), ("train",)),
    Change(
        "9",
        "a file by `../`",
        lambda shaped: shaped.write(shaped.repository, {"outside/up.csv": "2"}),
        shows="up=2",
    ),
    Change(
        "9",
        "a file by an absolute path",
        lambda shaped: shaped.write(elsewhere(), {f"{shaped.shape.name}.csv": "2"}),
        shows="absolute=2",
    ),
    # A log, a cache and a notebook lie there after the first run.
    Change("10", "nothing but what the step wrote itself", nothing, NOTHING),
    Change("11", "times, and equal bytes", _same_bytes, NOTHING),
    data("12", "table.csv", "table=2"),
    Change(
        "12",
        "a file given as `file://`",
        lambda shaped: shaped.write(elsewhere(), {"given.csv": "5"}),
        shows="table=5",
        given={"table": "file://ELSEWHERE/given.csv"},
    ),
    Change("13", "`python -m parts.{variant}`", write("train", "parts/small.py", "print(2)\n"), ("train",)),
    data("13", "sizes/small.json", "sized=2", '{"width": 2}'),
    Change(
        "13",
        "another value of the parameter",
        lambda shaped: (
            shaped.put("train", "parts/large.py", "print(3)\n"),
            shaped.put("train", "sizes/large.json", '{"width": 3}'),
        ),
        shows="sized=3",
        given={"variant": "large"},
    ),
    Change("14", "a glob in the command, changed", write("train", "globbed/two.csv", "2"), shows="globbed=12"),
    Change("14", "a glob in the command, added", write("train", "globbed/zwo.csv", "3"), shows="globbed=113"),
    data("15a", "settings.local.json", "local=4", '{"a": 4}'),
    Change(
        "15b",
        "an alias moves",
        lambda shaped: shaped.project.client.set_registered_model_alias("m", "champion", "2"),
        BASELINE,
        "champion=2",
    ),
    Change("15b", "a version is added", lambda shaped: shaped.register("3"), BASELINE, "latest=3"),
    Change("15c", "a web address", nothing, NOTHING, mentions="not compared"),
    Change("15d", "the same checkout elsewhere, data under a root", _elsewhere, NOTHING),
    Change("15", "a variable", lambda shaped: shaped.monkeypatch.setenv("LEVEL", "2"), shows="level=2"),
)
CODE = (
    data("16", "plugins/small.py", "plugin=2", "WIDTH = 2\n"),
    data("16", "extra/inserted.py", "inserted=2", "WIDTH = 2\n"),
    data("16", "lib/onpath.py", "onpath=2", "WIDTH = 2\n"),
    data("17", "editable-source/editable.py", "editable=2", "WIDTH = 2\n"),
    Change(
        "17",
        "code of several projects in `../common`",
        lambda shaped: shaped.write(shaped.repository, {"common/shared.py": "WIDTH = 2\n"}),
        shows="common=2",
    ),
    Change("18", "`make` runs it", write("train", "checks.py", "print(2)\n"), ("train",)),
    Change("18", "`./ready`", replace("train", "ready", "echo ready", "echo steady"), ("train",)),
    Change(
        "18",
        '`python "$PWD/train.py"`',
        replace("train", "train.py", "model {WIDTH}", "model of {WIDTH}"),
        shows="model of 8",
    ),
    Change("19", "the first step's script", replace("prepare", "prepare.py", "raw={", "rows={"), ALL, "rows=1"),
    Change(
        "19", "a middle step's script", replace("train", "train.py", "device={device}", "on={device}"), shows="on=cpu"
    ),
    Change(
        "19",
        "the last step's script",
        replace("evaluate", "evaluate.py", "{words}", "words {words}"),
        EVALUATE,
        "words (",
    ),
    Change(
        "19",
        "main.py",
        lambda shaped: shaped.project.edit("main.py", "go(composed()", "print(1)\ngo(composed()"),
        NOTHING,
        main=True,
        left_out=ONLY_CALLS,
    ),
    Change(
        "21",
        "requirements.txt",
        write("train", "requirements.txt", "pyyaml>=6.0.1\n"),
        NOTHING,
        says="requirements.txt",
    ),
    Change("22", "another version of a package", _install, NOTHING, mentions="ownlib 1.0, here 2.0"),
    Change(
        "23",
        "a docstring that is behaviour",
        replace("evaluate", "evaluate.py", "in one word", "in two words"),
        EVALUATE,
        "Compare in two words",
    ),
    Change("24", "a comment", replace("train", "train.py", "A first try.", "A second try, and better."), NOTHING),
    Change(
        "24", "a docstring that nobody reads", replace("train", "train.py", "Fit the model.", "Fit it well."), NOTHING
    ),
    Change("25", "line ends of listed code", _crlf, NOTHING),
    Change("26", "a helper is moved, and its import follows", _moved, ("train",), says="moved"),
)
PARAMETERS = (
    Change("27", "`1.10` without a type", nothing, shows="tag=1.10", given={"tag": "1.10"}),
    Change("28", "`1e-3` of type float", nothing, NOTHING, given={"rate": "1e-3"}),
    Change("31", "`false`, `None`", nothing, NOTHING, given={"flag": "false", "count": "None"}),
    Change("41", "a cheap new value", nothing, shows="rate=0.002", given={"rate": "0.002"}),
)
CHANGES = (*READS, *CODE, *PARAMETERS)
UPSTREAM = Change("38", "upstream data", write("prepare", "raw.csv", "2"), ALL, "seed=0 raw=2", "raw.csv")
ALONE = (
    "a file is added",
    "a file is removed",
    "another default in conf/config.yaml",
    "settings.json, which names another file",
    "a file given as `file://`",
    "another value of the parameter",
)
"""Changes that undo another one when they are made together."""
