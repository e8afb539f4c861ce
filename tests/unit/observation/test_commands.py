"""Which commands of a shell start Python alone, and which scripts did something before they were observed."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from mlflow_plugin.observation.commands import may_have_read_before, only_starts_python


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("python main.py --lr 0.1", True),
        ("source /envs/x/bin/activate && python3.11 -u main.py", True),
        ("export OMP_NUM_THREADS=1; cd src; LR=1 torchrun --nproc 2 main.py 2>&1 | tee log.txt", True),
        ("timeout 10s nice -n 5 python main.py >> out.log", True),
        ("python main.py\n# done\necho done", True),
        ("bash simple.sh", True),
        ("bash reading.sh", False),
        ("bash missing.sh", False),
        ("cat data/a.csv | python main.py", False),
        ("python main.py < data.csv", False),
        ("python main.py $(cat arguments)", False),
        ("test -e x && python main.py", False),
        ("if [ -e x ]; then python main.py; fi", False),
        ("./tool; python main.py", False),
        ("python main.py | awk -f program", False),
    ],
)
def test_a_command_that_starts_python_alone_is_told_from_others(tmp_path: Path, text: str, expected: bool) -> None:
    (tmp_path / "simple.sh").write_text("#!/bin/bash\nset -e\npython main.py\n")
    (tmp_path / "reading.sh").write_text("cat data/x\npython main.py\n")
    assert only_starts_python(text, str(tmp_path)) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("'''Train.'''\nimport json\nX = 1\ndef f(): pass\nfrom mlflow_plugin import start_phase\n", False),
        ("import json\ncfg = json.load(open('cfg.json'))\nfrom mlflow_plugin import start_phase\n", True),
        ("import own\nfrom mlflow_plugin import start_phase\n", True),
        ("from mlflow_plugin import start_phase\nimport own\nopen('x')\n", False),
        ("def main():\n    from mlflow_plugin import start_phase\nmain()\n", True),
    ],
)
def test_a_script_that_did_something_before_it_imported_this_package_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: bool
) -> None:
    (tmp_path / "main.py").write_text(text)
    for name in ("main", "own"):
        module = ModuleType(name)
        module.__file__ = str(tmp_path / f"{name}.py")
        monkeypatch.setitem(sys.modules, "__main__" if name == "main" else name, module)
    assert may_have_read_before([str(tmp_path)]) is expected
    assert not may_have_read_before([str(tmp_path / "elsewhere")])
