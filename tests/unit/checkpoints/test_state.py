import json
import math
import random
import struct
import subprocess
import sys
from collections import OrderedDict, defaultdict, namedtuple
from enum import IntEnum
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlflow_plugin.checkpoints.files import load_state, save_state
from mlflow_plugin.checkpoints.state import capture_random_state, collect, restore, restore_random_state
from mlflow_plugin.errors import PhaseError

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")
torch.set_num_threads(1)


def round_trip(state, folder: Path):
    save_state(state, folder)
    return load_state(folder)


def assert_identical(one, other, path="state"):
    """Equal in type, structure and every bit."""
    assert type(one) is type(other), path
    if isinstance(one, torch.Tensor):
        assert (one.dtype, one.shape) == (other.dtype, other.shape), path
        assert bits(one) == bits(other), path
    elif isinstance(one, np.ndarray | np.generic):
        assert (one.dtype, one.shape) == (other.dtype, other.shape), path
        assert one.tobytes() == other.tobytes(), path
    elif isinstance(one, float):
        assert struct.pack("d", one) == struct.pack("d", other), path
    elif isinstance(one, dict):
        assert list(one) == list(other), path
        for key in one:
            assert_identical(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), path
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_identical(a, b, f"{path}.{index}")
    else:
        assert one == other, path


def bits(tensor):
    plain = torch.view_as_real(tensor.resolve_conj().resolve_neg()) if tensor.is_complex() else tensor
    return plain.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary())
keys = st.one_of(st.text(), st.integers(), st.booleans(), st.none(), st.binary(), st.tuples(st.integers(), st.text()))
nested = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(), inner, max_size=4),
        st.dictionaries(keys, inner, max_size=4),
        st.dictionaries(keys, inner, max_size=4).map(OrderedDict),
    ),
    max_leaves=20,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(nested)
def test_plain_values_come_back_exactly(tmp_path, state):
    assert_identical(state, round_trip(state, tmp_path))


@pytest.mark.parametrize(
    "state",
    [
        {"$tuple": 1, "$": 2},
        {1: "int", "1": "text", (1, "a"): "tuple", None: 0, 2.5: 1, True + 1: 2},
        [math.nan, -math.nan, math.inf, -math.inf, -0.0, 5e-324, 0.1],
        [struct.unpack(">d", bytes.fromhex("7ff8000000000123"))[0]],
        [2**63, -(2**63), 2**63 - 1, 10**5000],
        {"a\ud800": "\ud800"},
        [torch.Size([2, 3]), torch.float32, torch.bfloat16, torch.device("cpu"), torch.device("cuda:1")],
        [np.float64(0.1), np.float32(math.nan), np.int8(-3), np.bool_(True), np.str_("é"), np.complex64(1j)],
        [np.datetime64("2026-01-01"), np.float64("inf"), np.bytes_(b"x")],
    ],
    ids=lambda state: type(state).__name__,
)
def test_special_values_come_back_exactly(tmp_path, state):
    assert_identical(state, round_trip(state, tmp_path))


INTEGERS = "bool uint8 int8 int16 int32 int64 uint16 uint32 uint64"
FLOATS = "float16 bfloat16 float32 float64 float8_e4m3fn float8_e5m2 complex32 complex64 complex128"


@pytest.mark.filterwarnings("ignore:ComplexHalf")
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (5,), (2, 3)], ids=str)
@pytest.mark.parametrize("name", f"{INTEGERS} {FLOATS}".split())
def test_tensor_of_every_dtype_and_shape_comes_back_exactly(tmp_path, name, shape):
    dtype = getattr(torch, name)
    size = math.prod(shape) * dtype.itemsize
    raw = torch.randint(0, 2 if name == "bool" else 256, (size,), dtype=torch.uint8)
    tensor = raw.view(dtype).reshape(shape) if size else torch.empty(shape, dtype=dtype)
    assert_identical(tensor, round_trip(tensor, tmp_path))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(12.0).reshape(3, 4).T,
        torch.arange(12.0).reshape(3, 4)[:, 1::2],
        torch.arange(3.0).expand(4, 3),
        torch.randn(3, dtype=torch.complex64).conj(),
        torch.randn(3, dtype=torch.complex64).imag,
        torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        torch.tensor([math.nan, math.inf, -0.0]),
        torch.nn.Parameter(torch.randn(3)).data,
    ],
    ids=["transposed", "strided", "expanded", "conjugate", "imaginary", "channels last", "nan", "parameter"],
)
def test_layouts_keep_their_values(tmp_path, tensor):
    assert_identical(tensor, round_trip({"x": tensor}, tmp_path)["x"])


def test_parameter_comes_back_as_a_tensor(tmp_path):
    parameter = torch.nn.Parameter(torch.randn(3))
    assert_identical(parameter.detach(), round_trip(parameter, tmp_path))


def test_tied_tensors_are_stored_once_and_stay_tied(tmp_path):
    weight = torch.randn(1000)
    loaded = round_trip({"embedding": weight, "head": weight, "view": weight.view(10, 100)}, tmp_path)
    assert loaded["embedding"] is loaded["head"]
    assert_identical(loaded["view"], weight.view(10, 100))
    assert (tmp_path / "tensors.safetensors").stat().st_size < 9000


def test_part_of_a_large_tensor_is_stored_without_the_rest(tmp_path):
    large = torch.randn(100_000)
    loaded = round_trip([large[:10], large[5:15]], tmp_path)
    assert_identical(loaded, [large[:10].clone(), large[5:15].clone()])
    assert (tmp_path / "tensors.safetensors").stat().st_size < 1000


def test_key_paths_that_look_alike_do_not_collide(tmp_path):
    state = {"a": {"b": torch.tensor(1)}, "a.b": torch.tensor(2), 0: torch.tensor(3), "0": torch.tensor(4)}
    state |= {"__metadata__": torch.tensor(5), "": torch.tensor(6), "\ud800": torch.tensor(7), "?": torch.tensor(8)}
    assert_identical(state, round_trip(state, tmp_path))


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3).T,
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(3.5),
        np.zeros((0, 2)),
        np.arange(3, dtype=">i4"),
        np.array(["a", "bcd"]),
        np.array([b"a", b""]),
        np.array([1 + 2j]),
        np.array(["2026-01-01", "NaT"], dtype="datetime64[ns]"),
        np.array([True, False]),
        np.arange(3, dtype=np.longdouble),
        np.array([""]),
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)
def test_arrays_come_back_exactly(tmp_path, array):
    loaded = round_trip({"x": array}, tmp_path)["x"]
    assert_identical(array, loaded)
    assert loaded.flags.writeable


class Colour(IntEnum):
    RED = 1


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({1, 2}, "set"),
        (object(), "object"),
        (Colour.RED, "Colour"),
        (namedtuple("Point", "x y")(1, 2), "Point"),
        (defaultdict(list), "defaultdict"),
        (lambda: 0, "function"),
        (Path("x"), "Path"),
        (np.array([object()]), "object"),
        (np.zeros(2, dtype=[("a", "f4")]), "ndarray"),
        (np.ma.masked_array([1], [True]), "MaskedArray"),
        (torch.eye(2).to_sparse(), "sparse"),
        (torch.empty(2, device="meta"), "meta"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unsupported_value_is_named_by_path_and_type(tmp_path, value, kind):
    with pytest.raises(PhaseError, match=rf"optimizer\.0\.here cannot be saved.*{kind}"):
        save_state({"optimizer": {0: {"here": value}}}, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_state_that_contains_itself_is_refused(tmp_path):
    state: dict = {}
    state["me"] = [state]
    with pytest.raises(PhaseError, match="contains itself"):
        save_state(state, tmp_path)


def test_no_pickle_is_written(tmp_path):
    save_state({"x": torch.ones(2), "y": np.ones(2), "z": b"z"}, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"state.json", "tensors.safetensors", "arrays.safetensors"}


def test_loaded_state_survives_a_later_save_into_the_same_folder(tmp_path):
    loaded = round_trip(torch.zeros(10_000), tmp_path)
    save_state(torch.ones(10_000), tmp_path)
    assert loaded.sum() == 0


def sound_folder(folder: Path) -> Path:
    save_state({"x": torch.arange(100.0), "y": np.arange(3), "z": [1, (2,)]}, folder)
    return folder


def damage(folder: Path, text: str) -> None:
    (folder / "state.json").write_text(json.dumps({"format_version": 1, "state": json.loads(text)}))


@pytest.mark.parametrize(
    "text",
    [
        '{"$tensor": "missing"}',
        '{"$tensor": 1}',
        '{"$tensor": "x", "complex": true}',
        '{"$unknown": 1}',
        '{"$bytes": "?"}',
        '{"$array": "y", "dtype": "O", "shape": [3]}',
        '{"$array": "y", "dtype": "f8", "shape": [300]}',
        '{"$float": "zz"}',
        '{"$array": "y", "dtype": "f8", "shape": [-1]}',
        '{"$dtype": "load"}',
        '{"$dtype": "no_such"}',
        '{"$device": "moon"}',
        '{"$dict": [1]}',
        '{"$dict": [[[], 1]]}',
        '{"$ordered": []}',
        '{"$int": "x"}',
        '{"$size": "x"}',
        '{"$tuple": 3}',
        '{"$scalar": "00", "dtype": "O"}',
        '{"$scalar": "00"}',
    ],
)
def test_damaged_values_are_refused(tmp_path, text):
    damage(sound_folder(tmp_path), text)
    with pytest.raises(PhaseError, match="damaged"):
        load_state(tmp_path)


@pytest.mark.parametrize("name", ["state.json", "tensors.safetensors", "arrays.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"\xff" * 50, b"half"])
def test_damaged_files_are_refused(tmp_path, name, content):
    file = sound_folder(tmp_path) / name
    if content is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if content == b"half" else content)
    with pytest.raises(PhaseError, match="damaged"):
        load_state(tmp_path)


def test_newer_format_is_refused(tmp_path):
    (tmp_path / "state.json").write_text('{"format_version": 2}')
    with pytest.raises(PhaseError, match="Upgrade mlflow-phases"):
        load_state(tmp_path)


def test_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PhaseError, match="file/checkpoint cannot be written"):
        save_state({}, tmp_path / "file" / "checkpoint")


def test_plain_states_need_neither_torch_nor_numpy(tmp_path):
    script = (
        "import sys; from pathlib import Path; from mlflow_plugin.checkpoints import files, schedule, state\n"
        "files.save_state(state.collect({'a': [1, 2.5], 'random': state.capture_random_state()}), Path(sys.argv[1]))\n"
        "state.restore_random_state(files.load_state(Path(sys.argv[1]))['random'])\n"
        "assert not {'torch', 'numpy', 'mlflow', 'safetensors'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def draws():
    return random.random(), random.gauss(0, 1), np.random.standard_normal(3).tolist(), torch.randn(3).tolist()


def test_random_state_is_restored_exactly(tmp_path):
    random.gauss(0, 1)
    np.random.standard_normal()
    saved = round_trip(capture_random_state(), tmp_path)
    expected = draws()
    draws()
    restore_random_state(saved)
    assert draws() == expected


@pytest.mark.parametrize("state", [{}, {"python": (1, 2)}, {"python": random.getstate(), "torch": torch.zeros(3)}])
def test_foreign_random_state_is_refused(state):
    before = random.getstate()
    with pytest.raises(PhaseError, match="random state"):
        restore_random_state(state)
    random.setstate(before)


class Training:
    """A small but complete training loop: dropout, momentum, a schedule, shuffled data."""

    def __init__(self, optimizer_class, scheduler):
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(), torch.nn.Linear(8, 1)
        )
        self.optimizer = optimizer_class(self.model.parameters(), lr=0.1)
        self.scheduler = scheduler(self.optimizer)
        self.order = torch.Generator().manual_seed(1)
        self.noise = np.random.default_rng(2)
        self.pick = random.Random(3)
        self.progress = {"losses": [], "best": None}
        self.average = torch.zeros(4)
        self.state = {
            "model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler, "order": self.order,
            "noise": self.noise, "pick": self.pick, "progress": self.progress, "average": self.average, "seen": 0,
        }  # fmt: skip

    def step(self):
        x = torch.randn(16, 4, generator=self.order) + float(self.noise.normal()) + self.pick.random()
        loss = ((self.model(x) - x.sum(1, keepdim=True)) ** 2).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        args = (loss.item(),) if isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau) else ()
        self.scheduler.step(*args)
        self.average.add_(x.mean(0).detach())
        self.progress["losses"].append(loss.item())
        self.progress["best"] = min(self.progress["losses"])
        self.state["seen"] += 16


SCHEDULERS = {
    "step": lambda o: torch.optim.lr_scheduler.StepLR(o, 2),
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 10),
    "lambda": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: 0.9**step),
    "plateau": lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=1),
    "one cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.2, total_steps=20),
    "sequential": lambda o: torch.optim.lr_scheduler.SequentialLR(
        o, [torch.optim.lr_scheduler.LinearLR(o), torch.optim.lr_scheduler.ExponentialLR(o, 0.9)], [3]
    ),
}


@pytest.mark.parametrize("scheduler", list(SCHEDULERS))
@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_resumed_training_equals_uninterrupted_training(tmp_path, optimizer, scheduler):
    parts = getattr(torch.optim, optimizer), SCHEDULERS[scheduler]
    whole = Training(*parts)
    for step in range(8):
        if step == 5:
            save_state({"state": collect(whole.state), "random": capture_random_state()}, tmp_path)
        whole.step()
    resumed = Training(*parts)
    saved = load_state(tmp_path)
    restore(resumed.state, saved["state"])
    restore_random_state(saved["random"])
    for _ in range(3):
        resumed.step()
    assert_identical(whole.progress, resumed.progress)
    assert_identical(collect(whole.state), collect(resumed.state))


def test_containers_are_restored_in_place():
    inner = torch.zeros(2)
    array = np.zeros(2)
    history: list[float] = []
    counts: defaultdict[str, int] = defaultdict(int, gone=1)
    nested_models = {"models": [torch.nn.Linear(2, 2)], "pair": (torch.zeros(1), 3)}
    live = {"inner": [inner, array], "history": history, "counts": counts, "nested": nested_models, "epoch": 0}
    model = torch.nn.Linear(2, 2)
    saved = {
        "inner": [torch.ones(2), np.ones(2)], "history": [0.5, 0.25], "counts": {"new": 2},
        "nested": {"models": [model.state_dict()], "pair": (torch.ones(1), 4)}, "epoch": 7,
    }  # fmt: skip
    restore(live, saved)
    assert (inner.tolist(), array.tolist(), history, dict(counts)) == ([1, 1], [1, 1], [0.5, 0.25], {"new": 2})
    assert counts["fresh"] == 0
    assert nested_models["models"][0].weight.equal(model.weight)
    assert nested_models["pair"] == (torch.ones(1), 4)
    assert live["epoch"] == 7


@pytest.mark.parametrize(
    "value", [{1}, object(), lambda: 0, torch.nn.Linear, Path("x")], ids=lambda one: type(one).__name__
)
def test_value_that_cannot_be_kept_is_named(value):
    with pytest.raises(PhaseError, match=r"helpers\.1 can neither be saved nor restored"):
        collect({"helpers": [1, value]})


@pytest.mark.parametrize(
    ("live", "saved", "message"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, "b is only in one"),
        ({"a": 1, "b": 2}, {"a": 1}, "b is only in one"),
        ({"a": torch.zeros(2)}, {"a": torch.zeros(3)}, "does not fit the state at a"),
        ({"a": torch.zeros(2)}, {"a": torch.zeros(2, dtype=torch.float64)}, "does not fit the state at a"),
        ({"a": np.zeros(2)}, {"a": np.zeros(3)}, "does not fit the state at a"),
        ({"a": torch.nn.Linear(2, 2)}, {"a": torch.nn.Linear(3, 2).state_dict()}, "does not fit the state at a"),
        ({"a": torch.nn.Linear(2, 2)}, {"a": 3}, "does not fit the state at a"),
        ({"a": {"m": torch.nn.Linear(2, 2)}}, {"a": {}}, r"no state for a\.m"),
        ({"a": [torch.nn.Linear(2, 2)]}, {"a": []}, "0 states for the 1 objects at a"),
        ({"a": {"x": 1}}, {"a": 5}, "does not fit the state at a"),
        ({"a": [1]}, {"a": None}, "does not fit the state at a"),
        (MappingProxyType({"a": 1}), {"a": 2}, "Pass the state as a dict"),
    ],
)
def test_checkpoint_that_does_not_fit_is_named(live, saved, message):
    with pytest.raises(PhaseError, match=message):
        restore(live, saved)


def test_state_dict_keeps_its_version_numbers(tmp_path):
    state = torch.nn.BatchNorm1d(2).state_dict()
    assert round_trip(state, tmp_path)._metadata == state._metadata
