"""Settings: declared once, read from texts, every fault named at once."""

import re
from typing import ClassVar, Literal

import pytest
from projects_common.settings import Settings
from pydantic import Field, field_validator

from mlflow_plugin.errors import UsageError


class Training(Settings):
    """The parameters of a training."""

    presets: ClassVar = {"small": {"epochs": 1, "device": "cpu"}, "large": {"epochs": 9}}

    preset: str = "small"
    epochs: int = Field(default=3, ge=1)
    learning_rate: float = Field(default=0.01, gt=0, description="step size of the optimizer")
    device: str = "auto"
    packing: Literal["packed", "grouped"] = "packed"

    @field_validator("device")
    @classmethod
    def _known(cls, device: str) -> str:
        if device not in ("auto", "cpu", "cuda"):
            raise ValueError("give auto, cpu or cuda")
        return device


def test_texts_get_the_types_of_the_fields() -> None:
    settings = Training.read({"epochs": "5", "learning_rate": "1e-3"})
    assert (settings.epochs, settings.learning_rate) == (5, 0.001)


@pytest.mark.parametrize("left_out", ["auto", None])
def test_auto_is_the_preset_s_value_and_else_the_default(left_out: str | None) -> None:
    assert Training.read({"epochs": left_out, "device": left_out}).epochs == 1
    large = Training.read({"preset": "large", "epochs": left_out, "device": left_out})
    assert (large.epochs, large.device) == (9, "auto")


def test_a_value_that_is_given_wins_over_the_preset() -> None:
    assert Training.read({"preset": "large", "epochs": "2"}).epochs == 2


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(UsageError) as refusal:
        Training.read({"epochs": "none", "learning_rate": "0", "device": "tpu", "packing": "loose", "colour": "red"})
    message = str(refusal.value)
    assert all(f"{name}=" in message for name in ("epochs", "learning_rate", "device", "packing", "colour"))
    assert "give auto, cpu or cuda" in message
    assert "'packed' or 'grouped'" in message


def test_options_of_a_command_line_are_the_fields() -> None:
    settings = Training.from_command_line(words=["--learning-rate", "0.5", "--epochs=auto", "--preset", "large"])
    assert (settings.learning_rate, settings.epochs) == (0.5, 9)


def test_a_fault_ends_the_process_with_the_exit_code_of_a_usage_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        Training.from_command_line(words=["--epochs", "0"])
    assert ended.value.code == UsageError.exit_code
    message = capfd.readouterr().err
    assert re.search(r"mlflow-phases: epochs='0'.*greater than or equal to 1", message)
    assert "Traceback" not in message


def test_the_help_shows_the_meaning_and_the_default() -> None:
    text = Training.parser().format_help()
    assert "step size of the optimizer (default: 0.01)" in text
    assert "packed, grouped (default: packed)" in text


def test_defaults_are_the_texts_that_an_mlproject_file_states() -> None:
    assert Training.defaults() == {
        "preset": "small", "epochs": "3", "learning_rate": "0.01", "device": "auto", "packing": "packed",
    }  # fmt: skip
