"""The names that are written to the tracking store.

People read `phase.*`; `mlflow.phase.*` is the index, which the UI hides. The texts never change: stores of earlier
versions have them.
"""

import hashlib

FORMAT_VERSION = 2
"""Runs of format 1 have no record of what they read."""
TAG_LENGTH = 7900
"""MLflow cuts a tag at 8,000 characters without a word; this much is used of it."""

NAME = "phase.name"
PROJECT = "phase.project"
VERDICT = "phase.verdict"
REASON = "phase.reason"
REUSED_RUN_ID = "phase.reused_run_id"
RESUMED_FROM = "phase.resumed_from"
INPUT_PREFIX = "phase.input."
OUTPUT_DIGEST = "phase.output_digest"
COMPLETED_AT = "phase.completed_at"
HARDWARE = "phase.hardware"
ANSWER = "phase.answer"
ANSWERED_BY = "phase.answered_by"
ANSWERED_AT = "phase.answered_at"
INVALIDATED_BY = "phase.invalidated_by"
QUARANTINED = "phase.quarantined"
BESIDE = "phase.beside"
MEMBER_PREFIX = "phase.member."

DURATION_SECONDS = "phase.duration_seconds"
COST_USD = "phase.cost_usd"
SAVED_SECONDS = "phase.saved_seconds"
SAVED_USD = "phase.saved_usd"
STEPS_SECONDS = "phase.steps_seconds"
ESTIMATED_SECONDS = "phase.estimated_seconds"
ESTIMATED_USD = "phase.estimated_usd"
STALL_MS = "checkpoint.stall_ms"
BATCH_SIZE = "batch.size"
BATCH_ACCUMULATION = "batch.accumulation"

FORMAT = "mlflow.phase.format"
FINGERPRINT = "mlflow.phase.fingerprint"
OUTPUTS = "mlflow.phase.outputs"
READS = "mlflow.phase.reads"
STEPS = "mlflow.phase.steps"
FINDINGS = "mlflow.phase.findings"
MATRIX = "mlflow.phase.matrix"
VALUES = "mlflow.phase.values"
ANCESTORS = "mlflow.phase.ancestors"
EXPERIMENTS = "mlflow.phase.experiments"
HEARTBEAT = "mlflow.phase.heartbeat"
ENDED = "mlflow.phase.ended"
CHECKPOINT = "mlflow.phase.checkpoint"
FIRST_CHECKPOINT = "mlflow.phase.first_checkpoint"
SUCCESSOR = "mlflow.phase.heir"
BAD_CHECKPOINTS = "mlflow.phase.bad_checkpoints"
QUESTION = "mlflow.phase.question"
PROPOSED_ANSWER = "mlflow.phase.proposed_answer."
SUPERSEDES = "mlflow.phase.supersedes"
QUARANTINE = "mlflow.phase.quarantine"
KEPT = "mlflow.phase.kept."
PRESUMED_DEAD = "mlflow.phase.presumed_dead"
HARDWARE_KEY = "mlflow.phase.hardware_key"
IDENTITY_INDEX = "mlflow.phase.identity."
CONFIG_INDEX = "mlflow.phase.config."
LOCK_INDEX = "mlflow.phase.claim."
INPUT_INDEX = "mlflow.phase.input."
INPUT_BYTES_INDEX = "mlflow.phase.input_bytes."
RUNS_INDEX = "mlflow.phase.runs."
SETS_INDEX = "mlflow.phase.sets."
COMPUTED_INDEX = "mlflow.phase.computed."
LATEST = "mlflow.phase.latest."
DECLARED_PROJECT = "mlflow.phase.declared_project."
DECLARED_ENTRY_POINT = "mlflow.phase.declared_entry_point."

OUTPUTS_FOLDER = "outputs"
PROJECT_FILES = "project_files"
"""The folder, among the outputs of a run, with the files that it left in its project."""
CHECKPOINTS_FOLDER = "checkpoints"
CODE_FILE = "provenance/code.json"
READS_FILE = "provenance/reads.json"
OUTPUT_FILE = "provenance/output.txt"
ENVIRONMENT_FILE = "provenance/environment.json"
MANIFEST_FILE = "manifest.json"
REPORTS_FOLDER = "reports"
STATE_FILE = "state.json"
REPORT_FILE = "report.html"

SHORT_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""For somebody who looks at a terminal: a store that is down is told in seconds; MLflow's own patience is minutes."""


def phase_key(project: str, phase: str) -> str:
    """Return a name for one phase of one project that is safe in a tag key: 16 hex digits."""
    return hashlib.sha256(f"{project}\0{phase}".encode()).hexdigest()[:16]


def output_key(project: str, phase: str, output_digest: str) -> str:
    """Return a name for an output of a phase, whichever run made it: 32 hex digits."""
    return hashlib.sha256(f"{project}\0{phase}\0{output_digest}".encode()).hexdigest()[:32]
