"""Messages of a project are shown, and silenced, with those of mlflow-phases."""

import logging

import pytest
from projects_common.messages import show_messages


@pytest.fixture
def logger() -> logging.Logger:
    show_messages("some_project")
    show_messages("some_project")
    return logging.getLogger("some_project.part")


def test_a_message_is_shown_once(logger: logging.Logger, capfd: pytest.CaptureFixture[str]) -> None:
    logger.info("Converting")
    assert capfd.readouterr().err == "[phases] Converting\n"


def test_silencing_mlflow_phases_silences_the_project(
    logger: logging.Logger, capfd: pytest.CaptureFixture[str]
) -> None:
    logging.getLogger("mlflow_plugin").setLevel("ERROR")
    logger.info("Converting")
    assert capfd.readouterr().err == ""
