"""What every side measures the same way. Standard library only: the sides run in different interpreters.

A side is a script `side_*.py`: it reads one JSON object from stdin (`phase` and its parameters), does that phase alone in its
own process, and prints one JSON object as its last line.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

Phase = Callable[[dict[str, Any]], dict[str, Any]]


def peak_rss_mb() -> float:
    """MiB (Linux gives KiB, macOS bytes)."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def cpu_seconds() -> float:
    """User and system time of this process, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


@contextmanager
def timed(into: dict[str, Any]) -> Generator[None]:
    """Add `wall_s` and `cpu_s` of the block to `into`; imports and preparation stay outside."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    yield
    into["wall_s"] = time.perf_counter() - wall
    into["cpu_s"] = cpu_seconds() - cpu


def run_side(phases: dict[str, Phase]) -> None:
    order = json.load(sys.stdin)
    if order.get("cpu") is not None:
        os.sched_setaffinity(0, {order["cpu"]})
    before = peak_rss_mb()
    result = phases[order["phase"]](order)
    print(json.dumps({"rss_before_mb": before, "peak_rss_mb": peak_rss_mb(), **result}))
