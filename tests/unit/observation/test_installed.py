"""Packages behind imported modules."""

from pathlib import Path

import pytest

from mlflow_plugin.observation.installed import installed_versions


@pytest.fixture
def site(tmp_path: Path) -> Path:
    for name, files in {
        "PyYAML-6.0.2.dist-info": {"top_level.txt": "_yaml\nyaml\n"},
        "python_dateutil-2.9.0.dist-info": {
            "RECORD": "dateutil/__init__.py,,\npython_dateutil-2.9.0.dist-info/RECORD,,\n"
        },
        "numpy-2.4.6.dist-info": {},
        "old_thing-1.0-py3.11.egg-info": {"top_level.txt": "thing\n"},
    }.items():
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / file).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("module", "package"),
    [("yaml", {"pyyaml": "6.0.2"}), ("dateutil", {"python-dateutil": "2.9.0"}), ("numpy", {"numpy": "2.4.6"}),
     ("thing", {"old-thing": "1.0"}), ("json", {})],
)  # fmt: skip
def test_the_package_of_a_module_is_found_by_its_metadata(site: Path, module: str, package: dict[str, str]) -> None:
    assert installed_versions({module}, [str(site), "/nowhere"], frozenset()) == package


def test_a_module_of_ones_own_is_no_package_of_the_same_name(site: Path) -> None:
    assert installed_versions({"yaml"}, [str(site)], {"/project/yaml/__init__.py"}) == {}
