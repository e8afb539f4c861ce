"""The errors that a user can meet. Each says what happened, to which file or run, and what to do next."""


class PhaseError(Exception):
    """Something a person can mend. Shown as one message, never as a traceback."""

    exit_code = 1


class UsageError(PhaseError):
    """The request itself is wrong: an unknown phase, a bad key, a value of the wrong type."""

    exit_code = 2


class NeedsAnswer(PhaseError):
    """A question is open and nobody is there to answer it. The message lists the command for each option."""

    exit_code = 3
