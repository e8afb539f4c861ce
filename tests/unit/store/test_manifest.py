import hashlib
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.store.manifest import FileEntry, Manifest, safe_relative_path

SHA = "ab" * 32
HOSTILE = [
    "",
    ".",
    "/etc/passwd",
    "../up",
    "a/../../b",
    "a/..",
    "..",
    "a\\b",
    "..\\up",
    "C:/x",
    "c:x",
    "a\0b",
    "a\nb",
    "\x1b[2J",
    "a\x7f",
    "a\u2028b",
    "\ud800",
    "x" * 300,
    "é" * 200,
    "/".join(["abc"] * 3000),
]


def folder_with(folder: Path, **files: bytes) -> Path:
    for name, content in (files or {"weights": b"abc", "sub__bias": b""}).items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def test_manifest_describes_every_file_but_itself(tmp_path):
    folder = folder_with(tmp_path / "out", weights=b"abc", sub__bias=b"", sub__hidden=b"x")
    (folder / "sub/hidden").rename(folder / "sub/.hidden")
    (folder / "manifest.json").write_text("old")
    manifest = Manifest.of(folder, step=7, metrics={"loss": 1})
    assert manifest == Manifest(
        {
            "sub/.hidden": FileEntry(hashlib.sha256(b"x").hexdigest(), 1),
            "sub/bias": FileEntry(hashlib.sha256(b"").hexdigest(), 0),
            "weights": FileEntry(hashlib.sha256(b"abc").hexdigest(), 3),
        },
        step=7,
        metrics={"loss": 1.0},
    )


def test_equal_bytes_give_equal_digests(tmp_path):
    one = Manifest.of(folder_with(tmp_path / "one"), step=1, metrics={"loss": 0.5})
    other = Manifest.of(folder_with(tmp_path / "other"))
    changed = Manifest.of(folder_with(tmp_path / "changed", weights=b"abd", sub__bias=b""))
    renamed = Manifest.of(folder_with(tmp_path / "renamed", weight=b"abc", sub__bias=b""))
    assert one.digest == other.digest
    assert len({one.digest, changed.digest, renamed.digest}) == 3


names = st.text(min_size=1).filter(lambda name: is_plain(name))
entries = st.builds(FileEntry, st.just(SHA), st.integers(0, 2**70), st.sampled_from([None, SHA[::-1]]))


def is_plain(name: str) -> bool:
    try:
        return str(safe_relative_path(name)) == name
    except PhaseError:
        return False


@given(
    st.dictionaries(names, entries), st.none() | st.integers(), st.dictionaries(st.text(), st.floats(allow_nan=False))
)
def test_json_gives_back_an_equal_manifest(files, step, metrics):
    manifest = Manifest(files, step, metrics)
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_nan_survives_and_the_text_is_strict_json():
    text = Manifest({}, metrics={"a": math.nan, "b": math.inf, "c": -math.inf}).to_json()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    metrics = Manifest.from_json(text).metrics
    assert math.isnan(metrics["a"])
    assert (metrics["b"], metrics["c"]) == (math.inf, -math.inf)


def described(**changes: object) -> str:
    sound = {"format_version": 1, "step": None, "metrics": {}, "files": {"a": {"sha256": SHA, "size": 1}}}
    return json.dumps(sound | changes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "1",
        '"x"',
        "[" * 100_000,
        b"\xff\xfe\x00",
        "{}",
        described(files=[]),
        described(files={"a": None}),
        described(files={"a": {"sha256": SHA}}),
        described(files={"a": {"sha256": "short", "size": 1}}),
        described(files={"a": {"sha256": 1, "size": 1}}),
        described(files={"a": {"sha256": SHA, "size": -1}}),
        described(files={"a": {"sha256": SHA, "size": True}}),
        described(files={"a": {"sha256": SHA, "size": 1.5}}),
        described(files={"a": {"sha256": SHA, "size": 1, "content": "x"}}),
        described(step="seven"),
        described(step=1.5),
        described(metrics={"a": "much"}),
        described(metrics={"a": None}),
        described(metrics=[1]),
        described(format_version="1"),
        described(format_version=0),
        described(format_version=None),
    ],
)
def test_damaged_manifest_is_refused(text):
    with pytest.raises(PhaseError, match="damaged"):
        Manifest.from_json(text)


def test_newer_manifest_is_refused_with_what_to_do():
    with pytest.raises(PhaseError, match="Upgrade mlflow-phases"):
        Manifest.from_json(described(format_version=2, files="something new"))


def test_unknown_keys_are_ignored():
    assert Manifest.from_json(described(note="x")).files == {"a": FileEntry(SHA, 1)}


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name if len(name) < 30 else f"{name[:20]}..."))
def test_hostile_names_are_refused_everywhere(name):
    with pytest.raises(PhaseError, match="artifact name"):
        safe_relative_path(name)
    with pytest.raises(PhaseError, match="artifact name"):
        Manifest({name: FileEntry(SHA, 1)})
    with pytest.raises(PhaseError, match="artifact name"):
        Manifest.from_json(described(files={name: {"sha256": SHA, "size": 1}}))


@pytest.mark.parametrize("name", ["a/./b", "./a", "a//b", "a/"])
def test_two_spellings_of_one_file_are_refused_in_a_manifest(name):
    assert safe_relative_path(name).parts[0] == "a"
    with pytest.raises(PhaseError, match="plain file name"):
        Manifest({name: FileEntry(SHA, 1)})


@pytest.mark.parametrize(
    "name", ["a", "plots/loss.png", "a b/c'd$(x);e.txt", "日本/é.bin", "...", "a..b", ".hidden", "-rf"]
)
def test_plain_names_are_accepted(name):
    assert str(safe_relative_path(name)) == name


@given(st.text())
def test_accepted_names_stay_below_their_folder(name):
    if is_plain(name):
        assert Path("/base", name).resolve().is_relative_to("/base")


def test_message_about_a_long_name_stays_short():
    with pytest.raises(PhaseError) as caught:
        safe_relative_path("x" * 10_000)
    assert len(str(caught.value)) < 300


def test_name_that_is_no_text_is_refused():
    with pytest.raises(PhaseError, match="must be text, not int"):
        safe_relative_path(3)


def test_sound_folder_has_no_faults(tmp_path):
    folder = folder_with(tmp_path / "out")
    manifest = Manifest.of(folder)
    (folder / "manifest.json").write_text(manifest.to_json())
    (folder / "extra").write_text("not named")
    assert manifest.verify(folder) == []


def test_every_fault_is_named_once(tmp_path):
    folder = folder_with(tmp_path / "out", gone=b"a", longer=b"b", flipped=b"c", replaced=b"d", sound=b"e")
    manifest = Manifest.of(folder)
    (folder / "gone").unlink()
    (folder / "longer").write_bytes(b"bb")
    (folder / "flipped").write_bytes(b"C")
    (folder / "replaced").unlink()
    (folder / "replaced").mkdir()
    assert manifest.verify(folder) == [
        "flipped has other bytes than when it was written: its sha256 differs.",
        "gone is missing.",
        "longer has 2 bytes instead of 1.",
        "replaced is missing.",
    ]


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(PhaseError, match="nowhere is no folder"):
        Manifest.of(tmp_path / "nowhere")


def test_unsafe_file_in_a_folder_is_named(tmp_path):
    folder = folder_with(tmp_path / "out")
    (folder / "two\nlines").write_text("x")
    with pytest.raises(PhaseError, match=r"two\\nlines"):
        Manifest.of(folder)
