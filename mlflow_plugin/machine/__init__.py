"""The machine and its processes: hardware, prices, ranks, signals, liveness of runs. Never imports MLflow."""
