"""The commands that write files: log, state, report."""

from pathlib import Path

import click

from mlflow_plugin.cli.options import history_of, project_options
from mlflow_plugin.cli.output import say
from mlflow_plugin.project.project import LOG_FILE
from mlflow_plugin.store.schema import REPORT_FILE, STATE_FILE


@click.command()
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"The log file.  [default: {LOG_FILE} in the project]",
)
@project_options
def log(output: Path | None, project: str) -> None:
    """Append ended runs to the experiment log.

    Each ended run of a phase gets one entry in the Markdown file, oldest first. Runs with an entry are left out. Once
    the file is in the project's folder, each phase appends its own entry when it ends.
    """
    from mlflow_plugin.reports.experiment_log import append_all

    history = history_of(project)
    file = output or history.project.directory / LOG_FILE
    added = append_all(history, file)
    say(f"{file}: {len(added)} {'entry' if len(added) == 1 else 'entries'} appended")


@click.command()
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path, allow_dash=True),
    default=STATE_FILE,
    show_default=True,
    help="The file; - writes to standard output.",
)
@project_options
def state(output: Path, project: str) -> None:
    """Write the state of the pipeline as JSON.

    For each phase it holds the run, the inputs, the quality, and the commands that bring the phase up to date.
    """
    from mlflow_plugin.reports.files import write_whole
    from mlflow_plugin.reports.state_file import state_text
    from mlflow_plugin.reports.views.pipeline import pipeline_view

    text = state_text(pipeline_view(history_of(project)))
    if str(output) == "-":
        say(text, end="")
        return
    write_whole(output, text)
    say(f"{output} written")


@click.command()
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=REPORT_FILE,
    show_default=True,
    help="The HTML file.",
)
@click.option(
    "--runs",
    type=click.IntRange(1),
    default=300,
    show_default=True,
    help="Include this many of the newest runs of a phase.",
)
@project_options
def report(output: Path, runs: int, project: str) -> None:
    """Write the dashboard as one HTML file.

    The file needs no server and no network, so that it can be kept or sent to others.
    """
    from mlflow_plugin.progress import report_periodically
    from mlflow_plugin.reports.files import write_whole
    from mlflow_plugin.reports.html_report import report_html

    with report_periodically(lambda: "reading the runs for the report"):
        text = report_html(history_of(project), runs_at_most=runs)
    write_whole(output, text)
    say(f"{output} written ({len(text.encode()) / 1e6:.1f} MB)")
