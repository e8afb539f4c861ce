"""Show the messages of a project at the terminal, as those of mlflow-phases are shown."""

import logging

_PACKAGE = logging.getLogger("mlflow_plugin")


def show_messages(*packages: str) -> None:
    """Hand the messages of `projects_common` and of these packages to the logger of mlflow-phases.

    They then have its handler and its level: silencing it silences them too. Calling it again changes nothing.
    """
    for name in ("projects_common", *packages):
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.setLevel(logging.DEBUG)
        if not any(isinstance(handler, _Handover) for handler in logger.handlers):
            logger.addHandler(_Handover())


class _Handover(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if _PACKAGE.isEnabledFor(record.levelno):
            _PACKAGE.handle(record)
