"""Check that a phase of a project with `docker_env` can be computed, before there is a run of it that fails."""

import logging

from mlflow_plugin.decision.request import Request
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.image import docker_fault, image_digest, pull_image

__all__ = ["require_container"]

_logger = logging.getLogger(__name__)


def require_container(request: Request) -> None:
    """Ensure that docker answers and has the image of the project. An image that it does not have is pulled.

    Raises:
        PhaseError: It does not answer, or cannot pull the image.
    """
    project, phase = request.project, request.phase.name
    if not project.image or image_digest(project.image):
        return
    if fault := docker_fault():
        raise PhaseError(f"{phase}: {project.file}: key `docker_env`: {fault}.")
    if not image_digest(project.image):
        _logger.info(f"{phase}: docker pulls {project.image}")
        if fault := pull_image(project.image):
            raise PhaseError(f"{phase}: {project.file}: docker cannot pull {project.image}: {fault}.")
