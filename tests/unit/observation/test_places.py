import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_plugin.observation.places import Places, places_of, plain_path
from mlflow_plugin.project.mlproject import load_project

# No file has a name with half a character of UTF-16 in it.
NAMES = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=5)
PART = NAMES.filter(lambda p: p not in (".", ".."))
PATH = st.lists(PART, min_size=1, max_size=4).map("/".join)
PLACES = Places(
    Path("/home/me/repository/project"),
    Path("/home/me/repository"),
    {"data": Path("/mnt/data"), "a: b": Path("/mnt/other")},
)


@given(st.sampled_from(["/home/me/repository/project", "/home/me/repository", "/mnt/data", "/mnt/other", "/srv"]), PATH)
def test_a_name_leads_back_to_its_path(folder, below):
    path = f"{folder}/{below}"
    place = PLACES.place_of(PLACES.name_of(path))
    assert place.path == path
    assert place.own == (folder != "/srv")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/home/me/repository/project/data/rows.csv", "data/rows.csv"),
        ("/home/me/repository/project", "."),
        ("/home/me/repository/common/x.csv", "../common/x.csv"),
        ("/mnt/data/x.csv", "root data: x.csv"),
        ("/mnt/other/y/x.csv", "root a: b: y/x.csv"),
        ("/srv/x.csv", "/srv/x.csv"),
        ("/home/me/repository/project/root data: x.csv", "./root data: x.csv"),
        ("/home/me/repository2/x.csv", "/home/me/repository2/x.csv"),
    ],
)
def test_names(path, name):
    assert PLACES.name_of(path) == name
    assert PLACES.place_of(name).path == path


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("data/../../../../../etc/shadow", "/etc/shadow"),
        ("../../../../etc/shadow", "/etc/shadow"),
        ("root data: ../../etc/shadow", "/etc/shadow"),
        ("/home/me/repository/../../../etc/shadow", "/etc/shadow"),
    ],
)
def test_a_name_that_leads_out_is_not_the_users_own(name, path):
    assert PLACES.place_of(name)[:2] == (path, False)


def test_a_name_inside_stays_the_users_own():
    assert PLACES.place_of("data/../rows.csv") == ("/home/me/repository/project/rows.csv", True, "")
    assert PLACES.place_of("/mnt/data/x.csv").own


def test_an_unknown_root_has_no_path():
    assert PLACES.place_of("root models: x.bin") == (None, True, "models")


def test_the_innermost_of_repository_and_roots_gives_the_name(tmp_path):
    places = Places(tmp_path / "r" / "p", tmp_path / "r", {"data": tmp_path / "r" / "data", "all": tmp_path})
    assert places.name_of(str(tmp_path / "r" / "data" / "x")) == "root data: x"
    assert places.name_of(str(tmp_path / "r" / "x")) == "../x"
    assert places.name_of(str(tmp_path / "x")) == "root all: x"


def test_a_project_behind_a_link_has_the_same_names(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for project in ("real", "link"):
        for opened in ("real", "link"):
            assert Places(tmp_path / project).name_of(str(tmp_path / opened / "x.csv")) == "x.csv"


def test_roots_are_expanded_and_an_unset_one_is_missing(tmp_path, monkeypatch):
    (tmp_path / "MLproject").write_text(
        "name: x\nroots: {data: $DATA, deep: '${DATA}/deep', near: ../near, lost: $LOST/x}\n"
        "entry_points: {main: {command: 'true', phase: {}}}\n"
    )
    monkeypatch.setenv("DATA", "/mnt/data")
    monkeypatch.delenv("LOST", raising=False)
    places = places_of(load_project(tmp_path))
    assert places.project == tmp_path
    assert {name: str(path) for name, path in places.roots.items()} == {
        "data": "/mnt/data",
        "deep": "/mnt/data/deep",
        "near": str(tmp_path.parent / "near"),
    }
    assert places.variables == {"DATA", "LOST"}


def test_two_dots_behind_a_link_lead_where_the_system_goes(tmp_path):
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "link").symlink_to(tmp_path / "far" / "deep")
    path = f"{tmp_path}/near/link/../x.csv"
    assert plain_path(path) == os.path.realpath(path) == f"{os.path.realpath(tmp_path)}/far/x.csv"
