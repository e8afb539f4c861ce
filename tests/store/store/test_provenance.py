"""The code and environment that a run keeps: it never costs the work, and hostile records are not believed."""

import json
import sys
import time
import venv
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_plugin.backends.environments import facts_of_environment
from mlflow_plugin.backends.execution import ExecutionSettings, execute_phase
from mlflow_plugin.backends.local import launch_locally
from mlflow_plugin.errors import NewerFormatError, PhaseError
from mlflow_plugin.execution.completion import complete_work
from mlflow_plugin.execution.records import Work
from mlflow_plugin.machine.environment_facts import environment_facts, installed_packages
from mlflow_plugin.store import provenance, schema
from mlflow_plugin.store.artifacts import artifact_text, listing
from mlflow_plugin.store.provenance import (
    FILE_BYTES,
    RECORD_BYTES,
    CodeFile,
    CodeRecord,
    EnvironmentRecord,
    code_json,
    code_of,
    environment_json,
    is_secret,
    read_code,
    read_environment,
)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["format_version", "command", "complete", "files", "digest", "lines", "not_kept", "packages"])


def kept(demo, run_id: str, path: str) -> str | None:
    return artifact_text(demo.run(run_id), path, RECORD_BYTES)


def record_of(folder: Path, **contents: bytes) -> CodeRecord:
    """Return what is kept of files with these contents; the names' underscores stand for dots."""
    files = {name.replace("_", "."): content for name, content in contents.items()}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return code_of(folder, "python a.py", dict.fromkeys(files, "0123456789ab"))


# --- what a run keeps ---


def test_a_run_keeps_the_code_that_its_project_shares_under_the_names_of_the_digest(
    demo, tmp_path_factory, monkeypatch
):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "tools").mkdir(parents=True)
    (elsewhere / "tools/__init__.py").write_text("X = 1\n")
    project = demo.request("collect").project.directory
    common = project.parent / "common"
    common.mkdir(exist_ok=True)
    (project.parent / ".git").mkdir(exist_ok=True)
    (common / "maths.py").write_text("import tools\n")
    (project / "collect.py").write_text("import sys\nsys.path.append('../common')\nimport maths\n")
    monkeypatch.setenv("PYTHONPATH", str(elsewhere))
    run_id, _ = demo.start("collect")
    record = read_code(kept(demo, run_id, schema.CODE_FILE))
    assert {name: file.text for name, file in record.files.items() if name != "collect.py"} == {
        "../common/maths.py": "import tools\n",
        "tools/__init__.py": "X = 1\n",
    }
    assert {name: file.digest for name, file in record.files.items()} == demo.run(run_id).fingerprint["files"]


def test_a_secret_file_of_a_shared_folder_is_not_kept(tmp_path):
    path = tmp_path / "elsewhere/passwords.txt"
    path.parent.mkdir()
    path.write_text("x")
    record = code_of(tmp_path, "python a.py", {"tools/passwords.txt": "0" * 12}, {"tools/passwords.txt": path})
    assert record.files["tools/passwords.txt"].not_kept == "its name says that it is secret"


def test_a_computed_run_keeps_the_text_of_its_code(demo):
    run_id, _ = demo.start("collect")
    record = read_code(kept(demo, run_id, schema.CODE_FILE))
    assert record.command == "python collect.py --seed {seed}"
    assert {name: file.text for name, file in record.files.items()} == {"collect.py": "print(1)\n"}
    assert {name: file.digest for name, file in record.files.items()} == demo.run(run_id).fingerprint["files"]


def test_a_phase_of_a_script_that_does_not_know_the_plugin_keeps_its_environment_too(demo):
    outcome = execute_phase(demo.request("collect"), ExecutionSettings(), launch_locally)
    environment = read_environment(kept(demo, outcome.run_id, schema.ENVIRONMENT_FILE))
    assert environment.settings["python"] == f"cpython {'.'.join(map(str, sys.version_info[:3]))}"
    assert environment.packages["mlflow"] == metadata.version("mlflow")
    assert read_code(kept(demo, outcome.run_id, schema.CODE_FILE)).files


def test_what_is_kept_is_no_output(demo):
    digests = []
    for text in ("print(1)\n", "print(1)  # looks otherwise\n"):
        (demo.folder / "collect.py").write_text(text)
        run_id, decision = demo.start("collect")
        demo.records.environment(run_id, {"format_version": 1, "python": text})
        demo.client.log_text(run_id, "states", "states.txt")
        complete_work(demo.records, run_id, Work(decision.request, {}), 1.0)
        digests.append(demo.run(run_id).output_digest)
        assert demo.run(run_id).outputs["sizes"] == {"states.txt": 6}
    assert digests[0] == digests[1]


def test_a_reuse_keeps_nothing(demo):
    demo.compute("collect")
    attempt = demo.settle("collect")
    assert attempt.reused is not None
    assert listing(demo.run(attempt.run_id).artifact_uri) == {}


def test_what_was_expected_is_logged_when_the_work_begins(demo):
    demo.compute("collect", seconds=60.0)
    run_id, _ = demo.start("collect")
    metrics = demo.client.get_run(run_id).data.metrics
    assert metrics[schema.ESTIMATED_SECONDS] == 60.0
    assert metrics[schema.ESTIMATED_USD] == demo.run(demo.latest("collect")).cost_usd


def test_a_resumed_run_says_what_all_of_the_work_is_expected_to_take(demo):
    demo.compute("collect")
    demo.compute("train", seconds=600.0, epochs=10)
    interrupted, _ = demo.start("train", epochs=20)
    demo.records.checkpoint(interrupted, "step-000010")
    demo.die(interrupted)
    attempt = demo.settle("train", epochs=20)
    assert attempt.decision.verdict.action == "resume"
    assert demo.client.get_run(attempt.run_id).data.metrics[schema.ESTIMATED_SECONDS] == 1200.0


def test_a_first_run_expects_nothing(demo):
    run_id, _ = demo.start("collect")
    assert not {schema.ESTIMATED_SECONDS, schema.ESTIMATED_USD} & set(demo.client.get_run(run_id).data.metrics)


def test_a_quarantine_says_when_and_by_whom_until_it_is_lifted(demo):
    run_id = demo.compute("collect")
    demo.records.quarantine(run_id, "wrong data")
    marked = demo.run(run_id)
    assert (marked.quarantined, marked.quarantined_by) == ("wrong data", demo.run(run_id).user)
    assert abs(marked.quarantined_at.timestamp() - time.time()) < 60
    demo.records.lift_quarantine(run_id)
    lifted = demo.run(run_id)
    assert (lifted.quarantined, lifted.quarantined_at, lifted.quarantined_by) == ("", None, "")


def test_a_quarantine_of_an_earlier_version_can_be_lifted(demo):
    run_id = demo.compute("collect")
    demo.client.set_tag(run_id, schema.QUARANTINED, "wrong data")
    assert demo.run(run_id).quarantined_at is None
    demo.records.lift_quarantine(run_id)
    assert not demo.run(run_id).quarantined


# --- that it costs nobody the work ---


def test_an_artifact_store_that_refuses_costs_only_the_record_and_is_told(demo, monkeypatch, capsys):
    def refuse(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(demo.client, "log_text", refuse)
    run_id, _ = demo.start("collect")
    assert demo.run(run_id).verdict == "run"
    said = capsys.readouterr().err
    assert "provenance/code.json could not be saved (OSError: [Errno 28] No space left on device)" in said
    assert "the work goes on" in said


def test_a_store_that_hangs_holds_nothing_up(demo, monkeypatch, capsys):
    monkeypatch.setattr(provenance, "_PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(demo.client, "log_text", lambda *args: time.sleep(1))
    began = time.monotonic()
    demo.records.environment(demo.records.create(demo.request("collect")), {"format_version": 1})
    assert time.monotonic() - began < 0.9
    assert "saving provenance/environment.json takes long; the work goes on meanwhile" in capsys.readouterr().err


def test_code_that_is_odd_or_slow_to_read_holds_nothing_up(demo, monkeypatch, capsys):
    def read(*args: object) -> None:
        time.sleep(0.5)
        raise ValueError("embedded null byte")

    monkeypatch.setattr(provenance, "_PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr("mlflow_plugin.execution.records.code_of", read)
    run_id, _ = demo.start("collect")
    assert demo.run(run_id).verdict == "run"
    assert "saving provenance/code.json takes long; the work goes on meanwhile" in capsys.readouterr().err
    monkeypatch.setattr(provenance, "_PATIENCE_SECONDS", 5)
    demo.start("collect", seed=1)
    assert "provenance/code.json could not be saved (ValueError: embedded null byte)" in capsys.readouterr().err


def test_a_project_whose_code_cannot_be_read_any_more_starts_all_the_same(demo):
    decision = demo.decide("collect")
    run_id = demo.records.create(decision.request)
    (demo.folder / "collect.py").unlink()
    demo.records.start(run_id, decision)
    file = read_code(kept(demo, run_id, schema.CODE_FILE)).files["collect.py"]
    assert (file.text, file.not_kept) == (None, "it could not be read")


# --- which files ---


def test_what_is_no_small_text_is_kept_by_its_digest_alone(tmp_path):
    files = record_of(
        tmp_path,
        a_py=b"print(1)\n",
        b_bin=b"\0\1",
        c_bin=b"\xff\xfe",
        d_csv=b"1" * (FILE_BYTES + 1),
        e_txt=b"\n" * 20_000,
        f_pem=b"key",
    ).files
    assert files.pop("a.py") == CodeFile("0123456789ab", "print(1)\n")
    assert {name: file.not_kept for name, file in files.items()} == {
        "b.bin": "it is no text",
        "c.bin": "it is no text",
        "d.csv": "it is larger than 256 KB",
        "e.txt": "it has more than 20000 lines",
        "f.pem": "its name says that it is secret",
    }
    assert {file.text for file in files.values()} == {None}


@pytest.mark.parametrize(
    "name",
    [
        ".env",
        "conf/.netrc",
        "server.key",
        "a/credentials.json",
        "secrets.yaml",
        "id_rsa",
        "prod.env",
        "TOKEN",
        "secrets/prod.yaml",
        "db_password.txt",
        "aws-credentials.json",
        "hf_token.txt",
        "api-key.txt",
        "a.tfvars",
        "client_secret.123.json",
        "deploy/service-account.json",
        ".aws/config",
        "id_ed25519_sk",
        "kubeconfig",
        "../common/secrets/a.txt",
        "../../.env",
        "../.ssh/id",
    ],
)
def test_files_that_hold_secrets_by_their_name_are_not_kept(name):
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "train.py",
        "secrets.py",
        "tokenizer.json",
        "keyboard.txt",
        "conf/model.yaml",
        "special_tokens_map.json",
        "added_tokens.json",
        "token_counts.csv",
        "secrets/read.py",
        "environment.yaml",
        "../common/settings.yaml",
        "../../data.csv",
    ],
)
def test_ordinary_files_are_kept(name):
    assert not is_secret(name)


@pytest.mark.parametrize(
    "line",
    [
        "-----BEGIN OPENSSH " + "PRIVATE KEY-----",
        "key = 'AKIA" + "B2" * 8 + "'",
        "t = 'hf_" + "x" * 34 + "'",
        "export T=ghp_" + "x" * 36,
        "T=github_pat_" + "x" * 40,
        "OPENAI=sk-proj-" + "x1" * 20,
        "T=glpat-" + "x" * 20,
        "xoxb-" + "1" * 20,
        "https://ada:pass3word@host/x",
    ],
    ids=["key", "aws", "hf", "ghp", "github", "openai", "gitlab", "slack", "address"],
)
def test_text_that_holds_a_key_is_not_kept_whatever_the_file_is_called(tmp_path, line):
    file = record_of(tmp_path, a_py=f"# settings\n{line}\n".encode()).files["a.py"]
    assert (file.text, file.not_kept) == (None, "it holds what looks like a key or a password")


@pytest.mark.parametrize(
    "line", ["disk-" + "x" * 40, "task-sk-1", "https://host/x@y", "f'https://{user}:{word}@{host}'"]
)
def test_ordinary_text_is_kept(tmp_path, line):
    assert record_of(tmp_path, a_py=line.encode()).files["a.py"].text == line


def test_a_link_to_a_secret_file_is_not_kept(tmp_path):
    (tmp_path / ".env").write_text("WORD=1")
    (tmp_path / "settings.txt").symlink_to(tmp_path / ".env")
    file = code_of(tmp_path, "python a.py", {"settings.txt": "0" * 12}).files["settings.txt"]
    assert (file.text, file.not_kept) == (None, "its name says that it is secret")


def test_of_very_much_code_only_what_is_kept_is_read(tmp_path, monkeypatch):
    names_of = [f"{number}.txt" for number in range(40)]
    for name in names_of:
        (tmp_path / name).write_text("x" * 200_000)
    opened = []
    read = provenance._read
    monkeypatch.setattr(provenance, "_read", lambda *args: opened.append(args) or read(*args))
    record = code_of(tmp_path, "python a.py", dict.fromkeys(names_of, "0" * 12))
    assert len(opened) <= RECORD_BYTES / 200_000
    assert sum(file.text is not None for file in record.files.values()) == len(opened)
    assert {file.not_kept for file in record.files.values()} == {"", "all files together are too large"}


def test_of_too_much_code_the_largest_files_are_left_out_and_the_record_can_be_read(tmp_path):
    contents = {f"f{number}_py": (b"x = %d\n" % number) * 30 * number**2 for number in range(1, 25)}
    record = record_of(tmp_path, **contents)
    left_out = {name for name, file in record.files.items() if file.text is None}
    assert record.files["f1.py"].text is not None
    assert left_out
    assert all(record.files[name].not_kept for name in left_out)
    assert min(int(name[1:-3]) for name in left_out) > max(
        int(name[1:-3]) for name in record.files if name not in left_out
    )
    text = code_json(record)
    assert RECORD_BYTES / 2 < len(text) <= RECORD_BYTES
    assert read_code(text) == record


def test_a_record_of_thousands_of_files_says_that_it_is_not_complete(tmp_path):
    record = code_of(tmp_path, "python a.py", {f"data/{number}": "0" * 12 for number in range(3000)})
    assert not record.complete
    assert not read_code(code_json(record)).complete
    assert len(record.files) == 2000


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=200).filter(lambda text: "\0" not in text), max_size=4))
def test_any_code_is_read_back_as_it_was(texts):
    record = CodeRecord("python a.py", {name: CodeFile("0" * 12, text) for name, text in texts.items()})
    assert read_code(code_json(record)) == record


# --- reading what a store holds ---


@given(st.dictionaries(KEYS, JSON_VALUES | st.dictionaries(KEYS, JSON_VALUES, max_size=4), max_size=6))
def test_whatever_a_store_holds_is_either_refused_or_of_the_right_types(content):
    text = json.dumps(content)
    for read in (read_code, read_environment):
        try:
            record = read(text)
        except PhaseError:
            continue
        if isinstance(record, CodeRecord):
            assert all(isinstance(file.text, str | None) for file in record.files.values())
        else:
            assert all(isinstance(version, str) for version in record.packages.values())


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "[" * 100_000, '{"format_version": true}', '{"format_version": 0}']
)
def test_a_damaged_record_is_refused(text):
    for read in (read_code, read_environment):
        with pytest.raises(PhaseError, match="damaged"):
            read(text)


def test_a_record_of_a_newer_version_and_one_too_long_are_refused():
    with pytest.raises(NewerFormatError, match="newer mlflow-phases"):
        read_code('{"format_version": 2}')
    with pytest.raises(PhaseError, match="longer than"):
        read_code(" " * (RECORD_BYTES + 1))


def test_a_file_entry_that_is_none_is_left_out_and_told():
    content = {"files": {"a.py": 3, "b.py": {"digest": "0" * 12, "lines": ["x", 3]}, "c.py": {"digest": "1" * 12}}}
    record = read_code(json.dumps({"format_version": 1, "complete": True, **content}))
    assert {name: file.text for name, file in record.files.items()} == {"b.py": None, "c.py": None}
    assert not record.complete


# --- the environment ---


def test_the_facts_of_this_environment_are_read_back(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    text = environment_json(environment_facts())
    record = read_environment(text)
    assert record.settings["PYTHONHASHSEED"] == "7"
    assert {"python", "platform"} <= set(record.settings)
    assert "hidden" not in text
    assert isinstance(record, EnvironmentRecord)


def test_the_packages_are_those_that_python_finds():
    here = environment_facts()["packages"]
    assert {name: here[name] for name in ("mlflow", "pytest", "flask-wtf")} == {
        name: metadata.version(name) for name in ("mlflow", "pytest", "flask-wtf")
    }


def test_of_two_versions_the_first_on_the_path_counts_and_libraries_of_conda_are_seen(tmp_path):
    first, second, conda = tmp_path / "first", tmp_path / "second", tmp_path / "conda-meta"
    for folder, entry in (
        (first, "Typing_Extensions-4.0.dist-info"),
        (second, "typing_extensions-3.0.dist-info"),
        (second, "legacy-1.2-py3.11.egg-info"),
        (second, "nameless.egg-info"),
        (conda, "cuda-cudart-12.4.127-0.json"),
        (conda, "history"),
    ):
        (folder / entry).mkdir(parents=True)
    found = installed_packages([str(first), str(tmp_path / "absent"), str(second), str(conda)])
    assert found == {"cuda-cudart": "12.4.127", "legacy": "1.2", "typing-extensions": "4.0"}


def test_an_environment_that_mlflow_built_is_asked_and_not_this_one(tmp_path):
    folder = tmp_path / "built"
    venv.create(folder, with_pip=False, symlinks=True)
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (site / "only_there-2.5.dist-info").mkdir()
    facts = facts_of_environment("uv", f"source {folder}/bin/activate && python train.py --epochs 3")
    assert facts["packages"] == {"only-there": "2.5"}


@pytest.mark.parametrize(
    ("manager", "command", "why"),
    [
        ("local", "docker run --rm image python train.py", "container"),
        ("uv", "python train.py", "does not say in which environment"),
        ("conda", "source /absent/conda.sh && conda activate absent 1>&2 && python train.py", "does not say: "),
    ],
)
def test_an_environment_that_cannot_be_asked_is_told(manager, command, why):
    with pytest.raises(PhaseError, match=why):
        facts_of_environment(manager, command)


def test_a_script_that_its_command_runs_with_another_python_records_that_one(demo, monkeypatch):
    from mlflow_plugin.execution import handover
    from mlflow_plugin.phase import start as phase

    run_id, _ = demo.start("collect")
    demo.records.environment(run_id, {"format_version": 1, "python": "of the starter"})
    monkeypatch.chdir(demo.folder)
    for variable, value in {
        "MLFLOW_RUN_ID": run_id,
        handover.DECIDED: run_id,
        handover.INTERPRETER: "/another",
    }.items():
        monkeypatch.setenv(variable, value)
    demo.client.set_tag(run_id, "mlflow.project.entryPoint", "collect")
    phase._resolve()
    assert read_environment(kept(demo, run_id, schema.ENVIRONMENT_FILE)).settings["python"].startswith("cpython")
