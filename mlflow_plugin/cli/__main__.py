"""`python -m mlflow_plugin.cli`: the command `mlflow-phases`."""

from mlflow_plugin.cli import main

main(prog_name="mlflow-phases")
