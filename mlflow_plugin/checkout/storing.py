"""Stage the files that a phase has left in its project, to be uploaded with its other outputs."""

from pathlib import Path

from mlflow_plugin.checkout.placing import UNFINISHED
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.outputs import declared_files
from mlflow_plugin.project.project import Phase, Project

__all__ = ["stage_project_files"]


def stage_project_files(project: Project, phase: Phase, folder: Path) -> None:
    """Lay links to the declared outputs of a phase into a folder, by their names in the project.

    Args:
        project: The project.
        phase: The phase that has just computed.
        folder: A folder to be made; it is left out where the phase declares no outputs.

    Raises:
        PhaseError: A declared output is not there, or one of its files cannot be kept.
    """
    for pattern in phase.outputs or ():
        every = declared_files(project.directory, [pattern])
        found = {name: path for name, path in every.items() if not path.name.startswith(UNFINISHED)}
        if not found:
            raise PhaseError(
                f"{phase.name} declares the output {pattern!r}, and left nothing there ({project.directory}). Correct "
                f"`outputs:` in {project.file.name}, or the phase's script, and run it again."
            )
        for name, path in found.items():
            link = folder / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
