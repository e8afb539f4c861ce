import itertools
from pathlib import Path
from textwrap import dedent, indent

import pytest

from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.judging import Gate, Quality
from mlflow_plugin.project.mlproject import load_project
from mlflow_plugin.project.project import AskAbove, CheckpointPolicy

COLLECT = """
  collect:
    command: "python collect.py"
    phase: {}
"""


def write(folder: Path, text: str) -> Path:
    (folder / "MLproject").write_text(dedent(text), encoding="utf-8")
    return folder


def with_phase(folder: Path, keys: str, parameters: str = "{epochs: {type: int, default: 3}}") -> Path:
    """A project of `collect` and `train`, the latter with these keys."""
    return write(
        folder,
        f"name: demo\nentry_points:{COLLECT}  train:\n    parameters: {parameters}\n"
        f'    command: "python train.py --epochs {{epochs}}"\n    phase:\n{indent(dedent(keys), " " * 6)}\n',
    )


def refusal(folder: Path) -> str:
    with pytest.raises(UsageError) as error:
        load_project(folder)
    assert error.value.exit_code == 2
    message = str(error.value)
    assert message.startswith(str(folder.resolve()))
    return message


def test_everything_that_can_be_declared_is_read(tmp_path):
    with_phase(
        tmp_path,
        """
        needs: [collect]
        ignore: [device]
        quality: {metric: loss, good: 0.1, poor: 0.5, higher_is_better: false}
        gates: ["held_out > identity"]
        max_age: 1.5 d
        code: [src]
        timeout_minutes: 2
        size: [epochs]
        checkpoints: {every: 5, keep_last: 2, keep_best: 0, keep_every: 100}
        """,
        "{epochs: {type: int, default: 3}, device: string}",
    )
    project = load_project(tmp_path)
    train = project.phase("train")
    assert (project.name, project.directory, list(project.phases)) == ("demo", tmp_path, ["collect", "train"])
    assert train.quality == Quality("loss", 0.1, 0.5, higher_is_better=False)
    assert train.gates == (Gate.parse("held_out > identity"),)
    assert (train.needs, train.ignore, train.code, train.size) == (("collect",), {"device"}, ("src",), ("epochs",))
    assert (train.max_age_seconds, train.timeout_minutes) == (1.5 * 86400, 2.0)
    assert train.parameters["device"].type == "string"
    assert train.checkpoints == CheckpointPolicy(every=5, keep_last=2, keep_best=0, keep_every=100)
    assert project.phase("collect").checkpoints == CheckpointPolicy(None, 3, 1, None)


def test_outputs_are_put_back_as_copies_unless_hard_links_are_declared(tmp_path):
    phases = '  a:\n    command: "x"\n    phase: {outputs: [a], link: hard}\n'
    write(tmp_path, f'entry_points:\n{phases}  b:\n    command: "x"\n    phase: {{outputs: [b]}}\n')
    project = load_project(tmp_path)
    assert (project.phase("a").link, project.phase("b").link) == ("hard", "copy")


def test_an_existing_project_without_phases_is_read_as_it_is(tmp_path):
    write(tmp_path, 'entry_points:\n  main:\n    parameters:\n      data: path\n    command: "python main.py {data}"\n')
    project = load_project(tmp_path)
    assert (project.name, project.phases, project.other_entry_points) == (tmp_path.name, {}, {"main"})


def test_a_pipeline_and_an_empty_phase_key_are_enough(tmp_path):
    write(
        tmp_path,
        f'entry_points:\n  main:\n    pipeline: [only]\n    command: "x"\n{COLLECT}'
        '  only:\n    command: "python only.py"\n    phase:\n',
    )
    project = load_project(tmp_path)
    assert project.pipelines["main"].targets == ("only",)
    assert project.phase("only").needs == ()


@pytest.mark.parametrize(
    ("keys", "key", "what"),
    [
        ("need: [collect]", "phase.need", "unknown key. Allowed: the keys needs, ignore, quality"),
        ("link: soft", "phase.link", "got 'soft'. Allowed: copy or hard, beside `outputs:`"),
        ("link: hard", "phase.link", "'hard' without `outputs:`"),
        ("needs: collect", "phase.needs", "got 'collect'. Allowed: a list of phase names"),
        ("needs: [[collect]]", "phase.needs", "Allowed: a list of phase names"),
        ("needs: [collect, collect]", "phase.needs", "'collect' is listed twice. Allowed: a list of phase names"),
        ("needs: [extract]", "phase.needs", "'extract' is not a phase of this file; phases: collect, train"),
        ("needs: [train]", "phase.needs", "in a cycle: train -> train"),
        (
            "ignore: [device]",
            "phase.ignore",
            "'device' is not a parameter of this entry point. Allowed: a list of this entry point's",
        ),
        ("ignore: device", "phase.ignore", "Allowed: a list of this entry point's parameters"),
        (
            "paths: [rows]",
            "phase.paths",
            "'rows' is not a parameter of this entry point. Allowed: a list of this entry point's",
        ),
        (
            "size: [rows]",
            "phase.size",
            "'rows' is not a parameter of this entry point. Allowed: a list of this entry point's numeric",
        ),
        (
            "quality: fidelity",
            "phase.quality",
            "must be a mapping, got text: 'fidelity'. Allowed: {metric: NAME, good: NUMBER",
        ),
        ("quality: {metric: q, good: 1}", "phase.quality.poor", "field required"),
        ("quality: {metric: '', good: 1, poor: 0}", "phase.quality.metric", "at least 1 character"),
        ("quality: {metric: q, good: high, poor: 0}", "phase.quality.good", "got 'high'. Allowed: {metric: NAME"),
        ("quality: {metric: q, good: .nan, poor: 0}", "phase.quality.good", "finite number"),
        ("quality: {metric: q, good: 1, poor: 0, better: low}", "phase.quality.better", "unknown key"),
        ("quality: {metric: q, good: 0.7, poor: 0.8}", "phase.quality", "`poor` 0.8 is above `good` 0.7"),
        (
            "quality: {metric: q, good: 0.2, poor: 0.1, higher_is_better: false}",
            "phase.quality",
            "`poor` 0.1 is below `good` 0.2",
        ),
        ("gates: [held_out]", "phase.gates", "'held_out' is not a condition"),
        ("gates: held_out > 1", "phase.gates", "Allowed: a list of conditions such as"),
        (
            "max_age: 7 days",
            "phase.max_age",
            "'7 days' is not a duration. Allowed: a number and a unit: 30m, 12h, 7d or 2w",
        ),
        ("max_age: 7", "phase.max_age", "got 7. Allowed: a number and a unit"),
        ("max_age: -1d", "phase.max_age", "'-1d' is not a duration"),
        ("code: src", "phase.code", "Allowed: a list of files and folders of the project"),
        ("timeout_minutes: 0", "phase.timeout_minutes", "greater than 0"),
        ("timeout_minutes: .inf", "phase.timeout_minutes", "Allowed: a number above 0"),
        (
            "checkpoints: 5",
            "phase.checkpoints",
            "must be a mapping, got a number: 5. Allowed: {every: STEPS, keep_last: COUNT",
        ),
        ("checkpoints: {keep: 5}", "phase.checkpoints.keep", "unknown key. Allowed: {every: STEPS"),
        ("checkpoints: {every: 0}", "phase.checkpoints.every", "greater than or equal to 1, got 0. Allowed: {every"),
        ("checkpoints: {every: 2.5}", "phase.checkpoints.every", "valid integer, got 2.5. Allowed: {every: STEPS"),
        ("checkpoints: {keep_last: 0}", "phase.checkpoints.keep_last", "greater than or equal to 1, got 0"),
        ("checkpoints: {keep_best: -1}", "phase.checkpoints.keep_best", "greater than or equal to 0, got -1"),
        ("checkpoints: {keep_every: true}", "phase.checkpoints.keep_every", "valid integer, got True"),
        ("timeout_minutes: soon", "phase.timeout_minutes", "got 'soon'. Allowed: a number above 0"),
    ],
)
def test_a_wrong_key_is_named_with_file_entry_point_and_what_is_allowed(tmp_path, keys, key, what):
    message = refusal(with_phase(tmp_path, keys))
    assert message.startswith(f"{tmp_path / 'MLproject'}: entry point 'train', key `{key}`: ")
    assert what in message
    assert "Allowed: " in message


def test_phase_keys_must_be_a_mapping(tmp_path):
    write(tmp_path, f'entry_points:{COLLECT}  train:\n    command: "x"\n    phase: [collect]\n')
    assert (
        "entry point 'train', key `phase`: must be a mapping, got a list: ['collect']. Allowed: the keys needs"
        in refusal(tmp_path)
    )


def test_a_phase_without_a_command_is_refused(tmp_path):
    write(tmp_path, "entry_points:\n  train:\n    phase: {}\n")
    assert "entry point 'train': a phase needs a `command:`" in refusal(tmp_path)


def test_an_entry_point_is_not_both_a_phase_and_a_pipeline(tmp_path):
    write(tmp_path, f'entry_points:{COLLECT}  main:\n    command: "x"\n    phase:\n    pipeline: [collect]\n')
    assert "entry point 'main': it cannot be both a phase and a pipeline" in refusal(tmp_path)


def test_a_cycle_is_written_in_the_order_in_which_phases_need_each_other(tmp_path):
    points = "".join(
        f'  {name}:\n    command: "x"\n    phase: {{needs: [{need}]}}\n' for name, need in ("ab", "bc", "ca")
    )
    message = refusal(write(tmp_path, f"entry_points:\n{points}"))
    cycle = message.partition("in a cycle: ")[2].partition(". Allowed")[0].split(" -> ")
    assert len(cycle) == 4
    assert all({"a": "b", "b": "c", "c": "a"}[one] == needed for one, needed in itertools.pairwise(cycle))


@pytest.mark.parametrize(
    ("pipeline", "what"),
    [
        ("train", "must be a list of phases, got text: 'train'. Allowed: a list such as [phase4]"),
        ("[]", "must be a list of phases, got a list: []"),
        ("[1]", "must be a list of phases, got a list: [1]"),
        ("[extract]", "'extract' is not a phase of this file. Allowed: collect"),
    ],
)
def test_a_wrong_pipeline_is_named(tmp_path, pipeline, what):
    write(tmp_path, f'entry_points:{COLLECT}  main:\n    command: "x"\n    pipeline: {pipeline}\n')
    message = refusal(tmp_path)
    assert "entry point 'main', key `pipeline`: " in message
    assert what in message


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("entry_points: [", "cannot be read as YAML"),
        ("a: b: c", "cannot be read as YAML"),
        ("- a\n- b\n", "is not a valid MLproject file: it needs a mapping `entry_points:`"),
        ("just text", "is not a valid MLproject file"),
        ("", "is not a valid MLproject file"),
        ("entry_points: [main]", "is not a valid MLproject file"),
        ("entry_points: {main: python}", "is not a valid MLproject file"),
        ("entry_points:\n  main:\n    command: x\n    parameters: [a]\n", "'main', key `parameters`"),
        ("entry_points:\n  7:\n    command: x\n    phase: {}\n", "entry point 7: its name must be text"),
        ("entry_points:\n  on:\n    command: x\n    phase: {}\n", "entry point True: its name must be text"),
        ("entry_points:\n  main:\n    command: x\n    phase: {1: 2}\n", "key `phase`: keys should be strings, got 1"),
    ],
)
def test_an_invalid_mlproject_file_is_refused_in_one_line(tmp_path, text, what):
    message = refusal(write(tmp_path, text))
    assert what in message
    assert "\n" not in message


def test_a_binary_file_is_refused(tmp_path):
    (tmp_path / "MLproject").write_bytes(b"\xff\xfe\x00bad")
    assert "cannot be read as YAML" in refusal(tmp_path)


def test_yaml_that_would_run_code_is_refused(tmp_path):
    write(tmp_path, f'entry_points: !!python/object/apply:os.mkdir ["{tmp_path}/made"]\n')
    assert "cannot be read as YAML" in refusal(tmp_path)
    assert not (tmp_path / "made").exists()


def test_a_missing_project_says_where_to_look(tmp_path):
    assert "there is no MLproject file. Run this in the project's folder" in refusal(tmp_path)
    assert "there is no such folder" in refusal(tmp_path / "nowhere")


def test_the_name_of_the_file_may_be_written_in_any_case_as_mlflow_allows(tmp_path):
    (tmp_path / "mlproject").write_text(f"entry_points:{COLLECT}")
    assert "collect" in load_project(tmp_path).phases


def test_a_parameter_of_a_pipeline_that_none_of_its_phases_takes_is_refused(tmp_path):
    pipeline = "  main:\n    parameters: {rows: int, decide: string}\n    command: x\n    pipeline: [collect]\n"
    message = refusal(write(tmp_path, f"entry_points:{COLLECT}{pipeline}"))
    assert "entry point 'main', key `parameters`: none of its phases has a parameter 'rows'" in message


def test_the_keys_of_observation_are_read_and_defaults_of_the_file_count_below_those_of_a_phase(tmp_path):
    write(
        tmp_path,
        "roots: {data: $DATA}\n"
        "phases: {external: ask, ask_above: 0, ignore_reads: [logs/**]}\n"
        "entry_points:\n"
        "  a: {command: x, phase: {}}\n"
        "  b: {command: x, parameters: {model: string}, phase: {external: ignore, observe: project, "
        "not_paths: [model], environment: count, ask_above: {minutes: 30}}}\n",
    )
    project = load_project(tmp_path)
    a, b = project.phases["a"], project.phases["b"]
    assert project.roots == {"data": "$DATA"}
    assert (a.external, a.ask_above, a.ignore_reads, a.observe) == ("ask", AskAbove(0, 0), ("logs/**",), "all")
    assert (b.external, b.ask_above, b.observe, b.environment) == ("ignore", AskAbove(30, 0.10), "project", "count")
    assert b.not_paths == {"model"}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("phases: [a]\n", "key `phases`: must be a mapping"),
        ("phases: {needs: [a]}\n", "key `phases.needs`: cannot be a default for all phases"),
        ("roots: [data]\n", "key `roots`: must map names to folders"),
        ("roots: {data: 5}\n", "key `roots`: must map names to folders"),
        ("roots: {'a b': x}\n", "key `roots`: must map names to folders"),
    ],
)
def test_wrong_keys_of_the_whole_file_are_named(tmp_path, text, what):
    write(tmp_path, f"{text}entry_points:\n  a: {{command: x, phase: {{}}}}\n")
    assert what in refusal(tmp_path)


@pytest.mark.parametrize("keys", ["observe: files", "external: x", "environment: x", "ask_above: 5", "ask_above: [1]"])
def test_a_wrong_choice_of_a_phase_names_those_that_are_allowed(tmp_path, keys):
    write(tmp_path, f"entry_points:\n  a: {{command: x, phase: {{{keys}}}}}\n")
    message = refusal(tmp_path)
    assert f"key `phase.{keys.partition(':')[0]}" in message
    assert "Allowed: " in message
