"""Deprecated: the names of version 0.1 that are now in `decision.estimate`, `format` and `machine`.

Importing this module warns. Version 0.3 removes it.
"""

import warnings

from mlflow_plugin.decision.estimate import Estimate, PastRun, estimate
from mlflow_plugin.format import describe_cost, describe_duration
from mlflow_plugin.machine.hardware import Gpu, Hardware, detect_hardware, usage
from mlflow_plugin.machine.prices import Price, cost_usd, price_per_hour

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

warnings.warn(
    "mlflow_plugin.accounting is now mlflow_plugin.decision.estimate, .format, .machine.hardware and .machine.prices",
    DeprecationWarning,
    stacklevel=2,
)
