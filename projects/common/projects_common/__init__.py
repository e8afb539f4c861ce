"""Share models, statistics, settings, tables and files between the projects. Nothing here imports MLflow."""
