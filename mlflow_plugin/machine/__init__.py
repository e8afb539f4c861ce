"""The machine and its processes: hardware, prices, ranks, signals, liveness. Never imports MLflow."""
