import pytest

from mlflow_plugin.observation.places import Places
from mlflow_plugin.observation.policy import Filter, Policy


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("logs/**", ["logs/a.log", "logs/deep/a.log"], ["logs.csv", "data/logs/a.log"]),
        ("logs", ["logs", "logs/a.log", "data/logs/a.log"], ["logs.csv"]),
        ("logs/", ["logs/a.log"], ["logs.csv"]),
        ("*.lock", ["a.lock", "deep/a.lock"], ["a.locked"]),
        ("data/*.csv", ["data/a.csv"], ["data/deep/a.csv", "a.csv"]),
        ("**/cache/**", ["cache/a", "deep/er/cache/a"], ["cached/a"]),
        ("data/**/a.csv", ["data/a.csv", "data/x/y/a.csv"], ["data/xa.csv"]),
        ("data/?[0-9].csv", ["data/a1.csv"], ["data/ab.csv"]),
        ("data/[!a].csv", ["data/b.csv"], ["data/a.csv"]),
        ("data/[z-a].csv", ["data/[z-a].csv"], ["data/b.csv"]),
        ("./a+b.csv", ["a+b.csv"], ["aab.csv", "ab.csv"]),
        ("/mnt/*/x", ["/mnt/a/x", "/mnt/a/x/y"], ["/mnt/x"]),
    ],
)
def test_patterns_of_ignore_reads(pattern, matching, other):
    policy = Policy(ignore_reads=(pattern,))
    assert [name for name in matching if not policy.ignores(name, f"/project/{name}")] == []
    assert [name for name in other if policy.ignores(name, f"/project/{name}")] == []


@pytest.mark.parametrize(
    ("path", "counts"), [("/dev/shm/rows.csv", True), ("/dev/null", False), ("/run/lock/x", False)]
)
def test_data_in_shared_memory_counts_beside_devices(tmp_path, path, counts):
    found = Filter(Policy(), Places(tmp_path)).counted_name(path)
    assert found == (path if counts else None)
