"""A script that has only defined things has read nothing before it was observed."""

import pytest

from mlflow_plugin.observation.late_start import is_passive
from mlflow_plugin.project.command_programs import has_other_programs


@pytest.mark.parametrize(
    ("text", "passive"),
    [
        ("import json\nRATE = 0.1\nNAMES = ['a', 'b']\n", True),
        ("import logging\nlog = logging.getLogger(__name__)\n", True),
        ("import sys\nfrom pathlib import Path\nsys.path.insert(0, str(Path(__file__).parent))\n", True),
        ("def load():\n    return open('a').read()\n", True),
        ("class A:\n    x: int = 1\n", True),
        ("try:\n    import torch\nexcept ImportError:\n    torch = None\n", True),
        ("if __name__ == '__main__':\n    main()\n", True),
        ("import json\nsettings = json.load(open('a.json'))\n", False),
        ("import os\nrate = os.environ['RATE']\n", False),
        ("from a import load\nrows = load()\n", False),
        ("class A:\n    rows = open('a').read()\n", False),
        ("with open('a') as file:\n    pass\n", False),
        ("for name in names: read(name)\n", False),
        ("this is no Python", False),
    ],
)
def test_what_a_script_may_have_read_is_told_by_its_statements(text: str, passive: bool) -> None:
    assert is_passive(text) is passive


def test_only_statements_above_the_import_count() -> None:
    text = "import json\nfrom mlflow_plugin import start_phase\nrows = open('a').read()\n"
    assert is_passive(text, 2)
    assert not is_passive(text, 4)


@pytest.mark.parametrize(
    ("command", "others"),
    [
        ("python main.py --rate {rate}", False),
        ("mkdir -p out && cd out && RATE=1 nice python ../main.py | tee log", False),
        ("torchrun --nproc-per-node 2 main.py", False),
        ("cat rows.csv | python main.py", True),
        ("python prepare.py && python main.py", True),
        ("bash run.sh", True),
    ],
)
def test_a_command_with_other_programs_than_one_python(command: str, others: bool) -> None:
    assert has_other_programs(command) is others
