"""`python -m mlflow_plugin`: the command `mlflow-phases`, for where the folder of the script is not in PATH."""

from mlflow_plugin.cli import main

main(prog_name="mlflow-phases")
