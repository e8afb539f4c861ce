"""Durations, money, times and run ids as people read them."""

import math
from datetime import datetime


def describe_duration(seconds: float) -> str:
    """Return a duration in words; seconds are shown below ten minutes.

    >>> [describe_duration(s) for s in (0.2, 48, 90, 660, 7500, 200_000)]
    ['less than 1 s', '48 s', '1 min 30 s', '11 min', '2 h 05 min', '2 d 08 h']
    """
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 1:
        return "less than 1 s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest:02d} s" if rest else f"{minutes} min"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24:02d} h"


def describe_cost(usd: float) -> str:
    """Return a sum of US dollars in words; cents are shown below ten dollars.

    >>> [describe_cost(usd) for usd in (0, 0.004, 0.43, 30, 1234.5)]
    ['$0', '< $0.01', '$0.43', '$30', '$1,234']
    """
    if not math.isfinite(usd):
        return "unknown"
    if usd <= 0:
        return "$0"
    if usd < 0.01:
        return "< $0.01"
    return f"${usd:.2f}" if round(usd, 2) < 10 else f"${usd:,.0f}"


def approximately(seconds: float) -> str:
    """Return an expected duration in words.

    >>> [approximately(seconds) for seconds in (0.2, 90, float("inf"))]
    ['less than 1 s', 'about 1 min 30 s', 'an unknown time']
    """
    if not math.isfinite(seconds):
        return "an unknown time"
    text = describe_duration(seconds)
    return text if text.startswith("less") else f"about {text}"


def clock(moment: datetime) -> str:
    """Return a UTC time to the second.

    >>> clock(datetime(2026, 3, 1, 9, 30))
    '2026-03-01 09:30:00 UTC'
    """
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def short(run_id: str) -> str:
    """Return the first eight characters of a run id, as people see it."""
    return run_id[:8]


def finite(value: float | None) -> float | None:
    """Return a number as JSON can hold it: None for NaN and infinity, which JSON lacks."""
    return value if value is not None and math.isfinite(value) else None
