"""Position along a Hilbert curve over the globe: scenes near each other get near numbers, so that row groups are small in space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Degrees = NDArray[np.float64] | Sequence[float]

BITS = 16
"""Cells per axis are 2**16: 0.0055 degrees of longitude."""


def hilbert(lon: Degrees, lat: Degrees) -> NDArray[np.uint64]:
    """Index of each point on a Hilbert curve of order 16 over [-180, 180] x [-90, 90], in degrees; same shape as the input.

    Points outside are moved to the edge; NaN gets the largest index, so that it sorts last.
    """
    across, up = np.asarray(lon, np.float64), np.asarray(lat, np.float64)
    unknown = np.isnan(across) | np.isnan(up)
    x, y = _cells(across, -180.0, 360.0), _cells(up, -90.0, 180.0)
    index = np.zeros(x.shape, np.uint64)
    one = np.uint64(1)
    for bit in range(BITS - 1, -1, -1):
        side = np.uint64(1 << bit)
        right, upper = (x & side) > 0, (y & side) > 0
        quadrant = (np.uint64(3) * right) ^ upper.astype(np.uint64)
        index += quadrant << np.uint64(2 * bit)
        # Turn the quadrant so that the curve inside it begins where the one before ended.
        flip = right & ~upper
        x, y = (
            np.where(flip, side - one - (x & (side - one)), x & (side - one)),
            np.where(flip, side - one - (y & (side - one)), y & (side - one)),
        )
        x, y = np.where(upper, x, y), np.where(upper, y, x)
    index[unknown] = np.iinfo(np.uint64).max
    return index


def _cells(values: NDArray[np.float64], low: float, extent: float) -> NDArray[np.uint64]:
    scaled = np.nan_to_num((values - low) / extent, nan=0.0) * (1 << BITS)
    return np.clip(scaled, 0, (1 << BITS) - 1).astype(np.uint64)
