import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_plugin.observation.calls import Call, Result
from mlflow_plugin.observation.comparison import compare
from mlflow_plugin.observation.files import GONE, Files, ListedFolder, ObservedFile, join_name, split_name
from mlflow_plugin.observation.findings import Findings
from mlflow_plugin.observation.places import Places
from mlflow_plugin.observation.policy import Policy
from mlflow_plugin.observation.recording import Recording
from mlflow_plugin.observation.trace import HubRevision, Trace
from mlflow_plugin.observation.tracing import trace_of

TEXT = st.text(st.characters(exclude_characters="\0"))
BARE = st.text(st.characters(exclude_characters="\0/"), min_size=1).filter(lambda name: name not in (".", ".."))
DIGEST = st.binary(min_size=32, max_size=32).map(bytes.hex).filter(lambda digest: digest.strip("0") != "")
FILE = st.builds(
    ObservedFile,
    name=st.lists(BARE, min_size=1, max_size=3).map("/".join),
    size=st.integers(0, 2**63 - 1),
    digest=DIGEST | st.just(GONE),
    python=st.booleans(),
    also=st.lists(DIGEST | st.just(GONE), max_size=2).map(tuple),
)
FOLDER = st.builds(
    ListedFolder,
    name=TEXT,
    digest=DIGEST,
    number=st.integers(0, 10**9),
    names=st.none() | st.lists(BARE, max_size=3).map(tuple),
    own=st.lists(BARE, max_size=2).map(tuple),
)
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
CALL = st.builds(
    Call,
    project=TEXT,
    entry_point=TEXT,
    parameters=st.dictionaries(TEXT, TEXT, max_size=2),
    paths=st.dictionaries(TEXT, TEXT, max_size=2),
    base=TEXT.filter(bool),
    experiment=TEXT,
    results=st.dictionaries(TEXT, st.builds(Result, TEXT, TEXT), max_size=2),
    hidden=TEXTS,
)
TRACE = st.builds(
    Trace,
    coverage=st.sampled_from(["full", "python", "none"]),
    files=st.lists(FILE, max_size=5).map(Files.of),
    absent=TEXTS,
    there=TEXTS,
    sizes=st.dictionaries(TEXT, st.integers(0, 2**63 - 1), max_size=3),
    links=st.dictionaries(TEXT, TEXT, max_size=3),
    folders=st.lists(FOLDER, max_size=3).map(tuple),
    variables=st.dictionaries(TEXT, st.none() | TEXT, max_size=3),
    packages=st.dictionaries(TEXT, TEXT, max_size=3),
    environment_files=st.dictionaries(TEXT, TEXT, max_size=3),
    references=st.dictionaries(TEXT, TEXT, max_size=3),
    hub=st.dictionaries(TEXT, st.builds(HubRevision, TEXT, TEXT), max_size=2),
    peers=TEXTS,
    unseen=TEXTS,
    changed_while_read=TEXTS,
    uncompared=st.dictionaries(TEXT, TEXT, max_size=3),
    left_out=st.integers(0, 10**9),
    looks_left_out=st.integers(0, 10**9),
    partly=TEXTS,
    wrote=TEXTS,
    calls=st.lists(CALL, max_size=2).map(tuple),
)


@given(TRACE)
def test_a_trace_is_read_again_as_it_was_written(trace):
    again = Trace.from_json(trace.to_json())
    assert again == trace
    assert again.digest == trace.digest


@given(st.lists(FILE, max_size=20))
def test_files_come_back_from_their_columns(files):
    by_name = {split_name(file.name): file for file in files}
    assert list(Files.of(files)) == [by_name[name] for name in sorted(by_name)]


@given(BARE | st.lists(BARE, min_size=1).map(lambda parts: "/" + "/".join(parts)) | BARE.map("root data: {}".format))
def test_a_name_is_split_and_joined(name):
    folder, base = split_name(name)
    assert join_name(folder, base) == name or name.startswith("root ")
    assert "/" not in base


@given(st.binary(max_size=200))
def test_any_bytes_are_a_trace_or_a_value_error(data):
    try:
        Trace.from_json(data)
    except ValueError:
        return


@given(TRACE, st.booleans())
def test_any_trace_can_be_compared_and_listed(trace, trusted):
    with tempfile.TemporaryDirectory() as folder:
        places = Places(Path(folder), None, {"data": Path(folder)})
        findings = compare(trace, Policy(), places, trusted=trusted, packages_here=str, rows=True)
    texts = [*findings.changed, *findings.unclear, *findings.mentions, *(row.name for row in trace.listing())]
    assert all(text.isprintable() for text in texts)
    assert bool(findings.state) == bool(findings.changed or findings.unclear)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)
KEYS = [
    "files",
    "folders",
    "absent",
    "hub",
    "variables",
    "packages",
    "left_out",
    "peers",
    "coverage",
    "uncompared",
    "sizes",
]


@given(
    st.dictionaries(st.sampled_from(KEYS), JSON),
    st.dictionaries(st.sampled_from(["folders", "names", "sizes", "digests", "python", "also"]), JSON),
)
def test_columns_of_wrong_types_are_a_value_error(columns, files):
    for content in (columns, {"files": files}):
        try:
            Trace.from_json(json.dumps({"format": 1, "coverage": "full", **content}).encode())
        except ValueError:
            continue


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        b'{"format":2,"coverage":"full"}',
        b'{"format":true,"coverage":"full"}',
        b'{"format":1,"coverage":"all"}',
        b'{"format":1,"coverage":["full"]}',
        b'{"format":1,"coverage":"full","left_out":-1}',
        b'{"format":1,"coverage":"full","left_out":1e3}',
        b'{"format":1,"coverage":"full","left_out":' + b"9" * 5000 + b"}",
        b'{"format":1,"coverage":"full","absent":["a\\u0000b"]}',
        b'{"format":1,"coverage":"full","absent":"abc"}',
        b'{"format":1,"coverage":"full","hub":{"a":["b"]}}',
        b'{"format":1,"coverage":"full","files":{"folders":["."],"names":[["../x"]],"sizes":[1],"digests":""}}',
        b'{"format":1,"coverage":"full","files":{"folders":["."],"names":[[".."]],"sizes":[1],"digests":""}}',
        b'{"format":1,"coverage":"full","files":{"folders":["."],"names":[["x"]],"sizes":[1],"digests":"AAAA"}}',
        b'{"format":1,"coverage":"full","files":{"folders":[".","."],"names":[["x"],[]],"sizes":[1],"digests":""}}',
    ],
)
def test_a_malformed_trace_is_a_value_error(data):
    with pytest.raises(ValueError, match=r"."):
        Trace.from_json(data)


def test_a_trace_of_a_newer_version_says_so():
    with pytest.raises(ValueError, match="newer version"):
        Trace.from_json(b'{"format":2,"coverage":"full"}')


def test_ten_thousand_files_take_less_than_a_megabyte(observed):
    files = Files.of(ObservedFile(f"data/{n % 100}/image_{n:06d}.png", n, f"{n + 1:064x}") for n in range(10_000))
    assert len(Trace("full", files).to_json()) < 1_000_000


# --- segments of one work ---


def test_segments_are_united(observed):
    observed.write("a.csv")
    observed.write("b.csv")
    first = observed.read("a.csv").trace("full", variables={"A": "1"}, unseen=("x was not seen",))
    observed.seen = {}
    second = observed.read("b.csv").trace("python", packages={"numpy": "2.1"})
    both = Trace.from_json(first.merged(second).to_json())
    assert [file.name for file in both.files] == ["a.csv", "b.csv"]
    assert (both.coverage, dict(both.variables), dict(both.packages)) == ("python", {"A": "1"}, {"numpy": "2.1"})
    assert both.unseen == ("x was not seen",)


def test_a_file_that_the_first_segment_made_does_not_count_in_the_second(observed):
    first = observed.mark("written", "cache.bin").mark("absent", "cache.bin").trace()
    observed.write("cache.bin")
    observed.seen = {}
    second = observed.read("cache.bin").trace()
    assert first.merged(second).file_count == 0


def test_a_file_that_the_segments_found_in_different_states_was_changed_while_read(observed):
    observed.write("rows.csv")
    first = observed.read("rows.csv").trace()
    observed.write("rows.csv", "2")
    second = observed.read("rows.csv").trace()
    assert first.merged(second).changed_while_read == ("rows.csv",)


def test_a_log_that_each_segment_continues_may_be_as_the_last_one_left_it(observed):
    traces = []
    observed.write("log.txt")
    for number in range(2):
        observed.seen = {}
        observed.read("log.txt").mark("written", "log.txt")
        observed.write("log.txt", f"1{number}")
        traces.append(observed.trace())
    assert observed.compare(traces[0].merged(traces[1])) == Findings(compared=1)


def test_a_file_that_a_later_segment_writes_counts_as_it_was_read_or_as_it_was_left(observed):
    observed.write("state.json")
    first = observed.read("state.json").trace()
    observed.seen = {}
    observed.mark("written", "state.json")
    observed.write("state.json", "22")
    recording = Recording("full", **observed.seen)
    both = first.merged(trace_of(recording, observed.policy, observed.places, earlier=first))
    assert observed.compare(both) == Findings(compared=1)
    observed.write("state.json", "1")
    assert observed.compare(both) == Findings(compared=1)
    observed.write("state.json", "3")
    assert observed.compare(both).changed
