"""Coordinates from one reference system into another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rasterloom.access.pixels.systems import same_crs, transformer

Coordinates = tuple[NDArray[np.float64], NDArray[np.float64]]
"""x and y, or longitude and latitude; infinite where a system does not reach."""
_DEGREES = "OGC:CRS84"


def moved(x: NDArray[np.float64], y: NDArray[np.float64], source: str | None, target: str | None) -> Coordinates:
    """Coordinates of `source` in `target`; None is longitude and latitude. The same numbers where both are one system."""
    here, there = source or _DEGREES, target or _DEGREES
    return (x, y) if same_crs(here, there) else transformer(here, there).transform(x, y)
