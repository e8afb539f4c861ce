import os
from importlib import metadata

import pytest

from mlflow_plugin.observation.packages import installed_version


@pytest.mark.parametrize("package", ["mlflow", "PyYAML", "typing_extensions", "pytest"])
def test_versions_are_those_of_the_interpreter(package):
    assert installed_version(package) == metadata.version(package)


def test_a_package_that_is_installed_anew_has_its_new_version(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    assert installed_version("own.lib") is None
    for minute, version in enumerate(("1.5.2", "1.6.1")):
        (tmp_path / f"own_lib-{version}.dist-info").mkdir()
        os.utime(tmp_path, (60 * minute, 60 * minute))
        assert installed_version("own-lib") == version
        (tmp_path / f"own_lib-{version}.dist-info").rmdir()
