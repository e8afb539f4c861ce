"""`python -m mlflow_plugin.cli`."""

from mlflow_plugin.cli import main

main()
