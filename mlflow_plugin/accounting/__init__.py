"""Time, hardware and money: what a phase ran on, what that costs an hour, and what the next run will take."""

from mlflow_plugin.accounting.estimate import Estimate, PastRun, describe_cost, describe_duration, estimate
from mlflow_plugin.accounting.hardware import Gpu, Hardware, detect_hardware, usage
from mlflow_plugin.accounting.prices import Price, cost_usd, price_per_hour

__all__ = [
    "Estimate",
    "Gpu",
    "Hardware",
    "PastRun",
    "Price",
    "cost_usd",
    "describe_cost",
    "describe_duration",
    "detect_hardware",
    "estimate",
    "price_per_hour",
    "usage",
]
