"""Show the messages of the project's modules at the terminal while a phase runs."""

import copy
import logging

from mlflow_plugin.machine.ranks import rank
from mlflow_plugin.progress import TerminalHandler

ROOTS = ("lora_retraining", "projects_common")
"""Loggers of the packages whose messages are shown."""


class _PhaseHandler(TerminalHandler):
    """Write each message after the name of the phase."""

    def __init__(self, phase: str) -> None:
        super().__init__()
        self.phase = phase

    def emit(self, record: logging.LogRecord) -> None:
        named = copy.copy(record)
        named.msg, named.args = f"{self.phase}: {record.getMessage()}", None
        super().emit(named)


def show_messages(phase: str) -> None:
    """Write the project's messages to standard error. Of several processes that train together only one does."""
    for name in ROOTS:
        logger = logging.getLogger(name)
        for handler in [one for one in logger.handlers if isinstance(one, _PhaseHandler)]:
            logger.removeHandler(handler)
        logger.addHandler(_PhaseHandler(phase))
        # MLflow's database migrations give the root logger a handler, which would repeat every warning.
        logger.propagate = False
        logger.setLevel(logging.ERROR if rank() else logging.INFO)
