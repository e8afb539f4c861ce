"""The page inside the MLflow UI: its routes on MLflow's own server, and what a browser loads."""
