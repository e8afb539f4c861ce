"""A change row as a project of each tool, as the tool's own manual would have it."""

from pathlib import Path

from benchmarks.peer_projects.base import Case, PeerTool
from benchmarks.peer_projects.dvc import Dvc
from benchmarks.peer_projects.hamilton import Hamilton
from benchmarks.peer_projects.metaflow import Metaflow
from benchmarks.peer_projects.phases import MlflowPhases
from benchmarks.peer_projects.prefect import Prefect
from benchmarks.peer_projects.redun import Redun
from benchmarks.peer_projects.snakemake import Snakemake

TOOLS: tuple[PeerTool, ...] = (
    Dvc(Path(__file__).parents[2] / ".cache" / "peers" / "dvc-template"),
    Snakemake(),
    Prefect(),
    Redun(),
    Metaflow(),
    Hamilton(),
    MlflowPhases(),
)

__all__ = ["TOOLS", "Case", "PeerTool"]
