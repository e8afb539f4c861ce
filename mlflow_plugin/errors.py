"""The errors that a user can meet. Each says what happened, to which file or run, and what to do next."""


class PhaseError(Exception):
    """An error that a person can fix. The commands show it as one message, never as a traceback."""

    exit_code = 1


class UsageError(PhaseError):
    """The request itself is wrong: an unknown phase, a bad key, a value of the wrong type."""

    exit_code = 2


class NeedsAnswer(PhaseError):
    """A question is open, and no person is there to answer it. The message lists the command for each option."""

    exit_code = 3


class NewerFormatError(PhaseError):
    """An entry of the store was written by a newer version of this package. It is not damaged."""


class TakenOverError(PhaseError):
    """Another run took this work over while this process was stopped. This process must not write any more."""


class EndedByScriptError(PhaseError):
    """A script has ended its own MLflow run as failed or killed. That, and why nothing counts, is on the run."""


def store_trouble(error: Exception) -> PhaseError:
    """Return the error for a tracking store that does not answer, or answers with an error."""
    return PhaseError(
        f"the tracking store does not answer as it should: {' '.join(str(error).split())[:500]}. "
        "See that it is up and that MLFLOW_TRACKING_URI names it, then repeat the command. Recorded results are kept."
    )
