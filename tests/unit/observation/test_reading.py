"""What is made of the records that many processes left."""

import os
from pathlib import Path

import pytest

from mlflow_plugin.observation.reading import Records
from mlflow_plugin.observation.recording import Opening, Recording
from mlflow_plugin.observation.seen import MOST_FILES

HELLO = "h 0 7 1 10 /usr/bin/cat"


class Folder:
    """A folder of records that is written by hand."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings()
        self.records = Records(path)

    def settings(self, **values: str) -> None:
        """Write what the recorder would tell the processes."""
        told = {"W": "shim", "B": "1000", **values}
        (self.path / "settings").write_bytes(b"".join(f"{kind}{value}\0".encode() for kind, value in told.items()))

    def add(self, *records: str, file: str = "1-1.shim") -> None:
        """Append records to the file of one process."""
        with open(self.path / file, "ab") as into:
            into.write(b"".join(os.fsencode(record) + b"\0" for record in records))

    def read(self, *records: str, file: str = "1-1.shim") -> Recording:
        """Append records and return what all of them say."""
        self.add(*records, file=file)
        return self.records.recording()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def opened(path: str, at: int, real: str = "", kind: str = "R", ctime: int = 7) -> str:
    return f"{kind} 5 6 {ctime} 8 {at} {len(os.fsencode(path))} {path}{real}"


def test_runs_that_were_asked_for_count_unless_the_tree_made_them(folder: Folder) -> None:
    seen = folder.read("Q a get_run", "Q b search_runs", "z b", "Q - search_runs")
    assert seen.asked == {("a", "get_run"), ("-", "search_runs")}


def test_git_is_mentioned_unless_others_than_the_projects_own_code_started_it(folder: Folder) -> None:
    assert not folder.read("v 1-5 rev-parse", "w 9-4 rev-parse", "v 2-5 init").partly
    assert folder.read("v 3-5 rev-parse").partly == ("what git rev-parse read of a repository is not compared",)


def test_the_earliest_opening_of_all_processes_counts(folder: Folder) -> None:
    folder.add(opened("/a", 30), file="1-1.shim")
    assert folder.read(opened("/a", 20), file="2-2.shim").read == {"/a": Opening(5, 6, 7, 8, 20)}


@pytest.mark.parametrize(("written", "is_input"), [(10, False), (30, True)])
def test_a_file_is_an_input_unless_a_process_of_the_tree_wrote_it_before(
    folder: Folder, written: int, is_input: bool
) -> None:
    folder.add(f"W {written} /a", file="1-1.shim")
    assert ("/a" in folder.read(opened("/a", 20), file="2-2.shim").read) is is_input


def test_a_file_that_is_read_and_then_written_is_both(folder: Folder) -> None:
    seen = folder.read(opened("/link/a", 20, "/data/a"), "W 30 /data/a")
    assert set(seen.read) & seen.written == {"/link/a"}


def test_a_link_that_the_tree_made_stands_for_what_it_leads_to(folder: Folder) -> None:
    seen = folder.read("G 5 /made", "S 10 /made/data", opened("/made/data/a", 20, "/data/a"))
    assert set(seen.read) == {"/data/a"}


def test_a_folder_that_the_tree_made_holds_no_inputs(folder: Folder) -> None:
    seen = folder.read("G 10 /new", opened("/new/sub/a", 20), "L 6 20 0 4 /new", "L 6 20 0 4 /old")
    assert not seen.read
    assert set(seen.listed) == {"/old"}


@pytest.mark.parametrize(("ctime", "is_input"), [(999, True), (1001, False)])
def test_a_renamed_file_is_an_input_where_it_was_there_before_the_tree_began(
    folder: Folder, ctime: int, is_input: bool
) -> None:
    assert ("/old" in folder.read(opened("/old", 2000, kind="m", ctime=ctime), "W 2001 /new").read) is is_input


def test_listings_before_the_hook_of_python_is_there_are_the_import_systems(folder: Folder) -> None:
    folder.add("L 6 10 0 5 /path", "D ", "L 6 20 0 5 /data", file="1-1.shim")
    assert set(folder.read("L 6 10 0 6 /other", file="2-2.shim").listed) == {"/data", "/other"}


def test_a_path_that_the_tree_made_later_was_not_missed(folder: Folder, tmp_path: Path) -> None:
    made, missed = f"{tmp_path}/made", f"{tmp_path}/missed"
    assert folder.read(f"A 10 {made}", f"A 10 {missed}", f"W 20 {made}").absent == {missed}


def test_peers_have_their_names_and_own_ports_and_skipped_servers_are_none(folder: Folder) -> None:
    folder.settings(S="store:5000")
    seen = folder.read(
        "N 10.0.0.1 5432 db", "P 10.0.0.1 5432 ", "P 10.0.0.2 80 ", "B 127.0.0.1 29500 ", "P 127.0.0.1 29500 ",
        "N 10.0.0.3 5000 store", "P 10.0.0.3 5000 ",
    )  # fmt: skip
    assert seen.peers == {"db:5432", "10.0.0.2:80"}


def test_files_of_a_hub_are_a_reference_to_its_revision(folder: Folder) -> None:
    revision = "a" * 40
    seen = folder.read(opened(f"/cache/models--org--name/snapshots/{revision}/config.json", 10, "/cache/blobs/1"))
    assert (seen.read, seen.references) == ({}, {"hub:models/org/name": revision})


def test_variables_say_whether_they_are_set_or_secret(folder: Folder) -> None:
    seen = folder.read("V abc LR", "V - TOKEN", "V ! SEED")
    assert seen.variables == {"LR": "abc", "TOKEN": None, "SEED": ""}


@pytest.mark.parametrize(
    ("way", "said", "coverage"),
    [
        ("shim", [], "none"),
        ("shim", [HELLO], "full"),
        ("shim", ["H full /usr", "H python /usr"], "python"),
        ("hook", ["H python /usr"], "python"),
        ("hook", [], "none"),
        ("notification", ["H full /usr"], "full"),
        ("notification", ["H full /usr", "H python /usr"], "python"),
        ("notification", [], "none"),
    ],
)
def test_coverage_is_what_the_least_seen_process_says(folder: Folder, way: str, said: list[str], coverage: str) -> None:
    folder.settings(W=way, Y="no compiler")
    seen = folder.read(*said)
    assert seen.coverage == coverage
    assert bool(seen.unseen) == (coverage == "none")


def test_programs_and_readers_that_were_not_seen_are_named(folder: Folder) -> None:
    folder.settings(W="hook", Y="no compiler")
    seen = folder.read("H python /usr", "I pyarrow", "C cat", "C uname", "X static /opt/go", "X setuid /bin/su")
    assert seen.unseen == (
        "what /bin/su read was not seen: it runs with the rights of another user",
        "what /opt/go read was not seen: it is statically linked",
        "what cat read was not seen (no compiler)",
        "what pyarrow read was not seen (no compiler)",
    )


def test_records_that_are_torn_or_none_are_left_out(folder: Folder) -> None:
    (folder.path / "1-1.shim").write_bytes(b"R 1 2\0\0A x /a\0Q\0R 5 6 7 8 9 2 /b\0R 5 6 7 8 9 2 /c")
    assert set(folder.records.recording().read) == {"/b"}


def test_a_record_that_was_half_written_is_read_when_it_is_whole(folder: Folder) -> None:
    (folder.path / "1-1.shim").write_bytes(b"R 5 6 7 8 9 2 /")
    assert not folder.records.recording().read
    (folder.path / "1-1.shim").write_bytes(b"R 5 6 7 8 9 2 /b\0")
    assert set(folder.records.recording().read) == {"/b"}


def test_a_path_that_is_no_text_keeps_its_bytes(folder: Folder) -> None:
    path = os.fsdecode(b"/caf\xe9\n")
    assert set(folder.read(opened(path, 10, "/r\u00e9al")).read) == {path}


def test_a_million_files_are_cut_off_and_said(folder: Folder) -> None:
    folder.add(HELLO, *(opened(f"/{number}", 10) for number in range(MOST_FILES + 1)))
    seen = folder.records.recording()
    assert len(seen.read) == MOST_FILES
    assert "more than 200,000 files" in seen.unseen[0]


def test_a_folder_that_is_gone_is_no_coverage(tmp_path: Path) -> None:
    seen = Records(tmp_path / "gone").recording()
    assert seen.coverage == "none"
    assert str(tmp_path / "gone") in seen.unseen[0]


@pytest.mark.parametrize(
    ("records", "unseen"),
    [
        ([HELLO, "e 7 20 /bin/sh", "h 0 7 1 30 /bin/sh"], ()),
        ([HELLO, "e 7 20 /bin/sh"], ("what /bin/sh read was not seen: it did not load the library that records",)),
        ([HELLO, "e 7 20 /bin/sh", "f 7 21 /bin/sh", "e 7 22 /bin/sh", "h 0 7 1 30 /bin/sh"], ()),
        # A number that is used again: the word of the second process is not that of the first.
        (
            [HELLO, "e 9 20 sh", "e 9 40 cat", "h 0 9 1 50 /bin/cat"],
            ("what sh read was not seen: it did not load the library that records",),
        ),
    ],
)
def test_a_program_that_was_started_and_says_nothing_is_named(
    folder: Folder, records: list[str], unseen: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlflow_plugin.observation.reading._SECONDS_TO_BEGIN", 0.0)
    assert folder.read(*records).unseen == unseen


def test_a_program_that_could_not_record_everything_is_named_also_when_it_fails_later(folder: Folder) -> None:
    assert folder.read(HELLO).unseen == ()
    with open(folder.path / "1-1.shim", "r+b") as file:
        file.seek(2)
        file.write(b"1")
    assert folder.read().unseen == ("not everything that cat read was seen: it could not write its records",)


@pytest.mark.parametrize(
    ("records", "peers"),
    [
        (["P 10.0.0.9 29500 ", "B 127.0.0.1 29500 "], {"10.0.0.9:29500"}),
        (["P 127.0.0.1 29500 ", "B 0.0.0.0 29500 "], set()),
        (["P 10.0.0.9 29500 ", "B :: 29500 "], {"10.0.0.9:29500"}),
        (["P 127.0.0.2 29500 ", "B 127.0.0.2 29500 "], set()),
        (["P 127.0.0.2 29500 ", "B 127.0.0.1 29500 "], {"127.0.0.2:29500"}),
        (["P localhost 29500 ", "B 127.0.0.1 29500 "], set()),
    ],
)
def test_a_port_that_the_tree_serves_hides_no_other_host(folder: Folder, records: list[str], peers: set[str]) -> None:
    assert folder.read(HELLO, *records).peers == peers


def test_a_socket_in_the_file_system_is_a_peer_unless_it_serves_the_machine_or_is_the_trees_own(folder: Folder) -> None:
    paths = ["/srv/postgres/.s.PGSQL.5432", "/run/docker.sock", "/run/nscd/socket", "/dev/log", "/tmp/gone", "/srv/own"]
    seen = folder.read(HELLO, "b /srv/own", *(f"u {path}" for path in paths))
    assert seen.peers == {"socket /srv/postgres/.s.PGSQL.5432", "socket /run/docker.sock"}


@pytest.mark.parametrize(
    ("records", "is_asked"),
    [
        (["X static /p/launch", "x 9 20 /p/launch", "h 0 9 1 30 /usr/bin/python3"], False),
        (["X static /p/launch", "x 9 20 /p/launch"], True),
        (["X static /p/launch", "x 9 20 /p/launch", "h 0 9 1 30 /bin/sh", "x 11 40 /p/launch"], True),
        (["X static /p/uv", "x 9 20 /p/uv", "h 0 10 9 30 /usr/bin/python3"], False),
        (["X static /p/busybox", "x 9 20 /p/busybox", "h 0 10 9 30 /bin/sh"], True),
    ],
)
def test_a_static_program_that_only_starts_another_is_mentioned_and_not_asked_about(
    folder: Folder, records: list[str], is_asked: bool
) -> None:
    seen = folder.read(HELLO, *records)
    assert (bool(seen.unseen), bool(seen.partly)) == (is_asked, not is_asked)
