"""Log the figures, plots and description of a phase's run."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mlflow_plugin.phase.active import ActivePhase


def publish(
    phase: "ActivePhase", figures: Mapping[str, float], description: str, plots: Mapping[str, "Figure"]
) -> None:
    """Log metrics by name and plots by the path of their artifact, and set the run's description in Markdown."""
    import mlflow

    phase.log(figures)
    for path, plot in plots.items():
        mlflow.log_figure(plot, path)
    phase.describe(description)
