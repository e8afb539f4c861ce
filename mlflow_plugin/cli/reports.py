"""The commands that write files: log, state, report."""

from pathlib import Path

import click

from mlflow_plugin.cli.options import history_of, project_options
from mlflow_plugin.project.project import LOG_FILE
from mlflow_plugin.store.schema import REPORT_FILE, STATE_FILE


@click.command()
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help=f"Default: {LOG_FILE} in the project.")
@project_options
def log(output: Path | None, project: str) -> None:
    """Appends an entry for each run of a phase that has ended and has none yet, oldest first.

    From then on each phase that ends appends its own entry to the file in the project's folder.
    """
    from mlflow_plugin.reports.experiment_log import append_all

    history = history_of(project)
    file = output or history.project.directory / LOG_FILE
    added = append_all(history, file)
    click.echo(f"{file}: {len(added)} {'entry' if len(added) == 1 else 'entries'} appended")


@click.command()
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path, allow_dash=True), default=STATE_FILE, show_default=True
)
@project_options
def state(output: Path, project: str) -> None:
    """Writes the state of the whole pipeline as JSON: each phase, its run, its inputs, what it takes to mend it."""
    from mlflow_plugin.reports.files import write_whole
    from mlflow_plugin.reports.state_file import state_text
    from mlflow_plugin.reports.views.pipeline import pipeline_view

    text = state_text(pipeline_view(history_of(project)))
    if str(output) == "-":
        click.echo(text, nl=False)
        return
    write_whole(output, text)
    click.echo(f"{output} written")


@click.command()
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), default=REPORT_FILE, show_default=True)
@click.option("--runs", type=click.IntRange(1), default=300, show_default=True, help="Of each phase, the newest.")
@project_options
def report(output: Path, runs: int, project: str) -> None:
    """Writes one HTML file with all that the page shows, to keep or to send to someone. It needs no network."""
    from mlflow_plugin.progress import report_periodically
    from mlflow_plugin.reports.files import write_whole
    from mlflow_plugin.reports.html_report import report_html

    with report_periodically(lambda: "reading the runs for the report"):
        text = report_html(history_of(project), runs_at_most=runs)
    write_whole(output, text)
    click.echo(f"{output} written ({len(text.encode()) / 1e6:.1f} MB)")
