import math
import shlex
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.parameters import TRUNCATED_AT, Parameter, canonical, local_path, logged_value, unquoted

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def counts_as(kind: str, given_now: object) -> str:
    return Parameter("p", kind).canonical(given_now)


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("float", "1e-3", "0.001"),
        ("float", "1e-3", 0.001),
        ("float", "1", "1.0"),
        ("float", " .5 ", "0.50"),
        ("int", "1000", "1e3"),
        ("int", "+7", 7),
        ("int", "7.0", "7"),
        ("", "0.001", 0.001),
        ("", 10, "10"),
        ("integer", "10", "1e1"),
        ("double", "1e-3", "0.001"),
        ("boolean", "False", "false"),
        ("boolean", "0", False),
        ("bool", "yes", "TRUE"),
        ("number", "2", 2.0),
        ("bool", "True", "true"),
        ("bool", True, "TRUE"),
        ("string", "hello world", "hello world"),
    ],
)
def test_the_same_value_counts_as_the_same_however_it_is_written(kind, one, other):
    assert counts_as(kind, one) == counts_as(kind, other)


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("string", "1e-3", "0.001"),
        ("string", "1", "1.0"),
        ("string", "007", "7"),
        ("string", "a ", "a"),
        ("path", "a/b", "a/c"),
        ("float", "0.1", "0.10000001"),
        ("int", "9007199254740993", "9007199254740992"),
        ("", "auto", "Auto"),
        ("", "1.10", "1.1"),
        ("", "1", "001"),
        ("", "1.0", "1"),
        ("", "1e-3", "0.001"),
        ("", "True", "true"),
        ("", "a ", "a"),
        ("uri", "1.10", "1.1"),
        ("boolean", "False", "True"),
        ("bool", "true", "false"),
    ],
)
def test_other_values_count_as_others(kind, one, other):
    assert counts_as(kind, one) != counts_as(kind, other)


@given(st.floats(allow_nan=False))
def test_a_number_survives_being_written_and_read_again(number):
    assert counts_as("float", repr(number)) == counts_as("float", number)
    assert Parameter("p").value(repr(number)) == number


@given(a=st.floats(allow_nan=False), b=st.floats(allow_nan=False))
def test_numbers_count_as_the_same_exactly_when_they_are_equal(a, b):
    assert (counts_as("float", a) == counts_as("float", b)) == (a == b)


def test_text_never_counts_as_a_number_or_truth_value():
    assert len({canonical("1"), canonical(1), canonical(True), canonical("True"), canonical(None), canonical("")}) == 6


@pytest.mark.parametrize(
    ("kind", "given_now", "what"),
    [
        ("int", "ten", "must be an integer, got 'ten'"),
        ("int", "1.5", "must be an integer, got '1.5'"),
        ("int", "nan", "must be an integer, got 'nan'"),
        ("int", "inf", "must be an integer, got 'inf'"),
        ("int", "²", "must be an integer, got '²'"),
        ("int", "9" * 5000, "must be an integer, got '999"),
        ("int", "", "must be an integer, got ''"),
        ("float", "1,5", "must be a number, got '1,5'"),
        ("bool", "maybe", "must be true or false, got 'maybe'"),
        ("boolean", "", "must be true or false, got ''"),
        ("integer", "1.5", "must be an integer, got '1.5'"),
    ],
)
def test_a_value_of_the_wrong_type_is_quoted_in_short(kind, given_now, what):
    with pytest.raises(UsageError) as error:
        Parameter("epochs", kind).value(given_now)
    assert f"parameter 'epochs' {what}" in str(error.value)
    assert len(str(error.value)) < 150


def test_nan_is_a_value_of_its_own():
    assert math.isnan(Parameter("p", "float").value("nan"))
    assert counts_as("float", "nan") == counts_as("float", math.nan) != counts_as("float", 0)


def test_declarations_are_read_in_both_forms():
    assert Parameter.declared("p", "path") == Parameter("p", "path")
    assert Parameter.declared("p", None) == Parameter("p")
    assert Parameter.declared("p", {"type": "int", "default": 0}) == Parameter("p", "int", 0)
    assert Parameter.declared("p", {"default": ["a", 1]}) == Parameter("p", "", "['a', 1]")


@given(TEXT)
def test_a_value_is_read_back_from_the_quotes_that_mlflow_puts_around_it(text):
    assert unquoted(shlex.quote(text)) == text


@pytest.mark.parametrize("text", ["hello world", "it's", '"half', "a 'b c'", ""])
def test_a_value_that_was_logged_without_quotes_is_taken_as_it_is(text):
    assert unquoted(text) == text


@pytest.mark.parametrize("argument", ["{}", "--prompt={}"])
def test_a_value_that_mlflow_truncated_is_recovered_from_the_command_line(argument):
    value = "it's long " + "x" * TRUNCATED_AT + " and ends here"
    logged = shlex.quote(value)[:TRUNCATED_AT]
    assert logged_value(logged, ["train.py", "other", argument.format(value)]) == value


def test_a_truncated_value_that_cannot_be_recovered_is_refused_rather_than_compared():
    with pytest.raises(UsageError, match=r"MLflow truncated a parameter .* cannot be compared: pass it in a file"):
        logged_value("x" * TRUNCATED_AT, ["train.py", "y" * TRUNCATED_AT])


def test_two_long_values_with_one_beginning_never_count_as_the_same():
    beginning = "x" * TRUNCATED_AT
    with pytest.raises(UsageError, match="so it cannot be compared"):
        logged_value(beginning, ["train.py", beginning + "1", beginning + "2"])
    assert logged_value(beginning, ["train.py", beginning + "1", beginning + "1"]) == beginning + "1"


def test_a_value_just_below_the_limit_needs_no_command_line():
    assert logged_value("x" * (TRUNCATED_AT - 1), []) == "x" * (TRUNCATED_AT - 1)


def test_a_path_is_found_from_the_callers_folder_or_by_its_absolute_form_on_the_command_line(tmp_path):
    file = tmp_path / "data.csv"
    file.write_text("a")
    assert local_path("data.csv", tmp_path) == file
    assert local_path("./data.csv", Path("/"), ["train.py", str(file)]) == file
    assert local_path(str(file), Path("/")) == file


@pytest.mark.parametrize("text", ["s3://bucket/data.csv", "gone.csv", "a\0b", "x" * 5000])
def test_a_path_that_names_nothing_here_is_no_local_path(tmp_path, text):
    assert local_path(text, tmp_path) is None


@given(one=TEXT, other=TEXT)
@example("1", "01")
@example("1", "1.0")
@example("True", "true")
@example("inf", "Infinity")
@example("1e3", "1000.0")
def test_without_a_type_values_count_as_the_same_exactly_when_their_texts_are_equal(one, other):
    assert (counts_as("", one) == counts_as("", other)) == (one == other)


@pytest.mark.parametrize(("text", "stored"), [("1.1", "#1.1"), ("10", "#10"), ("True", "=True"), ("-3", "#-3")])
def test_plainly_written_values_without_a_type_count_as_the_first_version_stored_them(text, stored):
    assert counts_as("", text) == stored


def test_a_parameter_whose_default_is_text_is_compared_as_text() -> None:
    version = Parameter.declared("version", {"default": "v1"})
    assert version.canonical("1.10") != version.canonical("1.1")
    assert version.canonical("1.1") == "'1.1"


@pytest.mark.parametrize("kind", ["int", "float", "bool", "boolean", "integer"])
def test_none_is_taken_for_a_typed_parameter_as_mlflow_takes_it(kind):
    declared = Parameter.declared("depth", {"type": kind, "default": "None"})
    assert declared.value() is None
    assert declared.canonical() == declared.canonical("None") != declared.canonical("1")
    assert Parameter("depth", kind).value("None") is None


def test_a_default_of_another_type_than_declared_is_taken_as_text():
    declared = Parameter.declared("epochs", {"type": "int", "default": "auto"})
    assert declared.value() == "auto"
    assert declared.canonical("3") == "#3"
    with pytest.raises(UsageError, match="must be an integer, got 'many'"):
        declared.value("many")


def test_a_path_may_be_given_as_a_file_uri(tmp_path):
    file = tmp_path / "two rows.csv"
    file.write_text("a")
    assert local_path(file.as_uri(), Path("/")) == file
    assert local_path(f"file://{tmp_path}/gone.csv", Path("/")) is None


def test_a_file_that_several_arguments_could_mean_is_not_guessed(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "data.csv").write_text(folder)
    rendered = [str(tmp_path / "a/data.csv"), str(tmp_path / "b/data.csv")]
    assert local_path("data.csv", tmp_path / "b", rendered) == tmp_path / "b/data.csv"
    with pytest.raises(UsageError, match="as an absolute path"):
        local_path("data.csv", tmp_path, rendered)


@pytest.mark.parametrize("argument", ["--prompts={}", "{}", "prompts={}"])
def test_a_path_is_found_in_an_option_that_holds_it(tmp_path, argument):
    file = tmp_path / "d.tsv"
    file.write_text("a")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert local_path("d.tsv", elsewhere, ["train.py", argument.format(file)]) == file
