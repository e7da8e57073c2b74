"""Time as the storage protocol needs it; tests and simulations hand in their own."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    now: Callable[[], datetime]
    """UTC, with a zone."""
    sleep: Callable[[float], None]
    """Seconds."""
    jitter: Callable[[float, float], float]
    """A number between two others, so that rivals do not keep step."""


SYSTEM = Clock(now=lambda: datetime.now(UTC), sleep=time.sleep, jitter=random.uniform)
