"""Run the phases: arguments, one late import of the work, outputs. Only these modules know `start_phase` and MLflow."""
