"""Prices come from the first source that has one, name their source, and are never negative or not a number."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.machine.hardware import Gpu, Hardware
from mlflow_plugin.machine.prices import PACKAGE_TABLE, Price, cost_usd, price_per_hour


def machine(*gpus: str, cores: int = 4) -> Hardware:
    return Hardware("AMD EPYC", cores, 16.0, tuple(Gpu(name, 24.0) for name in gpus))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MLFLOW_PHASES_PRICE_PER_HOUR", "MLFLOW_PHASES_PRICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def user_table(home: Path, table: object) -> Path:
    path = home / ".config/mlflow-phases/prices.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(table))
    return path


def named_table(home: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Path:
    path = home / "prices.json"
    path.write_text(text)
    monkeypatch.setenv("MLFLOW_PHASES_PRICES", str(path))
    return path


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("NVIDIA GeForce RTX 5090", "RTX 5090"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 3090", "RTX 3090"),
        ("NVIDIA RTX A6000", "RTX A6000"),
        ("NVIDIA A100-SXM4-80GB", "A100 80GB"),
        ("NVIDIA A100 80GB PCIe", "A100 80GB"),
        ("NVIDIA A100-PCIE-40GB", "A100"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA L4", "L4"),
        ("Tesla T4", "T4"),
        ("NVIDIA A10G", "A10G"),
        ("Tesla V100-SXM2-16GB", "V100"),
    ],
)
def test_the_names_of_drivers_match_their_row(name: str, row: str) -> None:
    rows = {entry["name"]: entry for entry in json.loads(PACKAGE_TABLE.read_text())["gpus"]}
    price = price_per_hour(machine(name))
    assert price.usd_per_hour == rows[row]["usd_per_hour"]
    assert f"1 x {row} at" in price.source
    assert f"as of {rows[row]['as_of']}" in price.source


@pytest.mark.parametrize("name", ["NVIDIA L40S", "NVIDIA T400", "NVIDIA A10", "Quadro RTX 6000", "NVIDIA GH200 480GB"])
def test_a_gpu_of_a_similar_name_is_not_mistaken_for_a_known_one(name: str) -> None:
    price = price_per_hour(machine(name))
    assert price.usd_per_hour == price_per_hour(machine()).usd_per_hour
    assert f"no price is known for {name}" in price.source
    assert "CPU cores alone" in price.source


def test_the_published_7b_run_costs_43_cents() -> None:
    price = price_per_hour(machine("NVIDIA GeForce RTX 5090"))
    assert round(cost_usd((1 + 11 + 15 + 2) * 60, price), 2) == 0.43


def test_the_retraining_plan_costs_30_to_40_dollars() -> None:
    price = price_per_hour(machine("NVIDIA A100-SXM4-80GB"))
    assert [cost_usd(hours * 3600, price) for hours in (12, 16)] == [30.0, 40.0]


def test_each_gpu_is_paid_for() -> None:
    pair = price_per_hour(machine("NVIDIA L4", "NVIDIA L4", "NVIDIA H200"))
    single = [price_per_hour(machine(name)).usd_per_hour for name in ("NVIDIA L4", "NVIDIA H200")]
    assert pair.usd_per_hour == pytest.approx(2 * single[0] + single[1])
    assert "2 x L4" in pair.source


def test_an_unknown_gpu_beside_a_known_one_is_mentioned() -> None:
    price = price_per_hour(machine("NVIDIA H200", "Voodoo 5"))
    assert price.usd_per_hour == price_per_hour(machine("NVIDIA H200")).usd_per_hour
    assert "no price is known for Voodoo 5" in price.source


def test_a_mig_instance_costs_its_share_of_the_gpu() -> None:
    whole = price_per_hour(machine("NVIDIA A100-SXM4-80GB")).usd_per_hour
    slices = price_per_hour(machine("NVIDIA A100-SXM4-80GB MIG 2g.20gb"))
    assert slices.usd_per_hour == pytest.approx(whole * 2 / 7)
    assert "2/7 of A100 80GB" in slices.source


def test_cpu_cores_are_paid_for_each() -> None:
    two, eight = (price_per_hour(machine(cores=cores)).usd_per_hour for cores in (2, 8))
    assert two > 0
    assert eight == pytest.approx(4 * two)


def test_the_first_source_with_a_price_counts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = machine("NVIDIA L4")
    assert "AWS" in price_per_hour(gpu).source
    user_table(home, {"gpus": [{"name": "L4", "usd_per_hour": 3}]})
    assert price_per_hour(gpu).usd_per_hour == 3
    named_table(home, monkeypatch, '{"gpus": [{"name": "L4", "usd_per_hour": 2, "source": "our cluster"}]}')
    assert price_per_hour(gpu) == Price(2, "1 x L4 at $2/h (our cluster)")
    monkeypatch.setenv("MLFLOW_PHASES_PRICE_PER_HOUR", "1.5")
    assert price_per_hour(gpu) == Price(1.5, "environment variable MLFLOW_PHASES_PRICE_PER_HOUR")
    assert price_per_hour(gpu, 0) == Price(0.0, "given as a parameter")
    assert price_per_hour(gpu, "0.25").usd_per_hour == 0.25


def test_a_table_that_lacks_a_gpu_leaves_it_to_the_next(home: Path) -> None:
    user_table(home, {"cpu_core": {"usd_per_hour": 1}})
    assert price_per_hour(machine("NVIDIA L4")).usd_per_hour < 1
    assert price_per_hour(machine(cores=3)).usd_per_hour == 3


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "free", "-0.001"])
def test_an_invalid_price_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    with pytest.raises(PhaseError, match=r"The given price per hour must be .* a number of at least 0 .*, got"):
        price_per_hour(machine(), value)
    monkeypatch.setenv("MLFLOW_PHASES_PRICE_PER_HOUR", value)
    with pytest.raises(PhaseError, match="environment variable MLFLOW_PHASES_PRICE_PER_HOUR must be"):
        price_per_hour(machine())


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("{", "is not JSON"),
        ("[]", "the table must be a JSON object"),
        ('{"gpu": []}', "the table: 'gpu' is not one of about, cpu_core, gpus"),
        ('{"gpus": {}}', "gpus must be a list"),
        ('{"gpus": [7]}', r"gpus\[0\] must be a JSON object"),
        ('{"gpus": [{"name": "L4"}]}', r"gpus\[0\].usd_per_hour is missing"),
        ('{"gpus": [{"name": "L4", "usd_per_hour": -1}]}', r"gpus\[0\].usd_per_hour in .* must be .* got -1"),
        ('{"gpus": [{"name": "L4", "usd_per_hour": NaN}]}', r"gpus\[0\].usd_per_hour in .* must be .* got nan"),
        ('{"gpus": [{"name": "L4", "usd_per_hour": true}]}', r"gpus\[0\].usd_per_hour in .* must be .* got True"),
        ('{"gpus": [{"name": "L4", "usd_per_hour": ' + "9" * 400 + "}]}", r"gpus\[0\].usd_per_hour in"),
        ('{"gpus": [{"name": "--", "usd_per_hour": 1}]}', r"gpus\[0\].name must contain words"),
        ('{"gpus": [{"name": 5, "usd_per_hour": 1}]}', r"gpus\[0\].name must be text"),
        ('{"cpu_core": {"usd_per_hour": 1, "name": "x"}}', "cpu_core: 'name' is not one of"),
        ('{"cpu_core": {"usd_per_hour": 1, "as_of": 2025}}', "cpu_core.as_of must be text"),
    ],
)
def test_a_malformed_table_names_file_and_key(home: Path, monkeypatch: pytest.MonkeyPatch, text: str, key: str) -> None:
    path = named_table(home, monkeypatch, text)
    with pytest.raises(PhaseError, match=key) as caught:
        price_per_hour(machine())
    assert str(path) in str(caught.value)


def test_a_table_that_is_not_there_says_which_variable_names_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_PHASES_PRICES", str(home / "gone.json"))
    with pytest.raises(PhaseError, match=r"gone\.json cannot be read: No such file.*MLFLOW_PHASES_PRICES"):
        price_per_hour(machine())


def test_every_row_of_the_package_table_says_source_and_date() -> None:
    table = json.loads(PACKAGE_TABLE.read_text())
    for row in [*table["gpus"], table["cpu_core"]]:
        assert row["source"]
        assert row["as_of"] >= "2025-11"
    assert "override" in table["about"]


@given(seconds=st.floats(0, 1e9), usd=st.floats(0, 1e4))
def test_cost_is_hours_times_price(seconds: float, usd: float) -> None:
    assert cost_usd(seconds, Price(usd, "")) == pytest.approx(seconds / 3600 * usd)


def test_a_clock_that_was_set_back_costs_nothing() -> None:
    assert cost_usd(-60, Price(1.0, "")) == 0
