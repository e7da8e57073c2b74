"""The timeline of a report: scenes and their cloud cover in equal steps, at most sixty of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rasterloom.access.reports.values import Cloud, Period, Timeline

MOST = 60


@dataclass(frozen=True, slots=True)
class _Unit:
    """One step of a timeline."""

    name: str
    letter: str
    """numpy's unit."""
    size: int
    """In numpy's units."""
    shift: int = 0
    """Steps begin so many of them before 1970."""


_UNITS = (
    _Unit("day", "D", 1),
    _Unit("week", "D", 7, 3),  # 1970 began on a Thursday, a week on the Monday before
    _Unit("month", "M", 1),
    _Unit("quarter", "M", 3),
    _Unit("year", "Y", 1),
    _Unit("decade", "Y", 10),
)


def timeline_of(instants: NDArray[np.datetime64], clouds: NDArray[np.float32]) -> Timeline | None:
    """None where no scene has an instant. `clouds` is per cent, NaN where a scene does not say."""
    if not len(instants):
        return None
    unit = next((unit for unit in _UNITS if np.ptp(_steps(instants, unit)) < MOST), _UNITS[-1])
    steps = _steps(instants, unit)
    last = int(steps.max())
    steps = np.maximum(steps, last - MOST + 1)  # six centuries and more: the oldest in one
    order, first = np.argsort(steps, kind="stable"), int(steps.min())
    parts = np.split(clouds[order], np.searchsorted(steps[order], np.arange(first + 1, last + 1)))
    periods = (Period(start=_start(first + at, unit), scenes=len(part), cloud=cloud_of(part)) for at, part in enumerate(parts))
    return Timeline(unit=unit.name, periods=tuple(periods))


def cloud_of(clouds: NDArray[np.float32]) -> Cloud | None:
    """None where no scene says."""
    said = clouds[np.isfinite(clouds)]
    if not len(said):
        return None
    low, median, high = (float(value) for value in np.percentile(said, (10, 50, 90)))
    return Cloud(low=low, median=median, high=high)


def _steps(instants: NDArray[np.datetime64], unit: _Unit) -> NDArray[np.int64]:
    whole: Any = instants.astype(f"datetime64[{unit.letter}]")
    return (whole.astype(np.int64) + unit.shift) // unit.size


def _start(step: int, unit: _Unit) -> datetime:
    start: Any = np.array(step * unit.size - unit.shift).astype(f"datetime64[{unit.letter}]")
    return start.astype("datetime64[us]").item()
