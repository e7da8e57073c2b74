"""Pixels at places of a raster, by the rules of GDAL's warp: the one around each, or the mean of those near it by their distance.

Places are columns `x` and rows `y`, 0.0 at the corner of the first pixel, arrays of one shape, all finite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rasterloom.raster.layers import Layer

Places = NDArray[np.float64]

_EDGE = 1e-10
"""Pixels that a place may lie before the edge of a pixel and still be on it: GDAL's own."""


def nearest(raster: Layer, x: Places, y: Places) -> Layer:
    """The pixels around the places, in the dtype of the raster; not valid, and 0, beside of it."""
    height, width = raster.data.shape
    index = _under(y, height) * width + _under(x, width)
    data, valid = raster.data.ravel().take(index), raster.valid.ravel().take(index)
    there = _there(raster.data.shape, x, y)
    if there is not None:
        valid &= there
        data[~there] = 0
    return Layer(data, valid)


def bilinear(raster: Layer, x: Places, y: Places, reach: Sequence[float] = (1.0, 1.0)) -> Layer:
    """The mean of the valid pixels around, float64, 0 where not valid; valid where the pixel around the place is.

    The weight of a pixel falls with the distance of its centre, along columns and rows, to 0 at `reach` (columns, rows; 1 at least):
    at 1 it is the interpolation between four pixels. Values that are not finite are none.
    """
    height, width = raster.data.shape
    there = _there(raster.data.shape, x, y)
    across, down = (_Taps(_inside(places, length) - 0.5, each) for places, length, each in zip((x, y), (width, height), reach, strict=True))
    box = _Box.around(raster, across, down)
    index = (down.first - box.top) * box.data.shape[1] + (across.first - box.left)
    mean = _mean(box, index, across, down)
    if box.valid is None and there is None:
        return Layer(mean, np.ones(x.shape, bool))
    known = np.ones(box.data.shape, bool) if box.valid is None else box.valid
    valid = known.ravel().take((_under(y, height) - box.top) * box.data.shape[1] + _under(x, width) - box.left)
    if there is not None:
        valid &= there
    mean[~valid] = 0
    return Layer(mean, valid)


def _there(shape: tuple[int, ...], x: Places, y: Places) -> NDArray[np.bool_] | None:
    """Which places lie in the raster, its edges included; None: all do, and on no edge."""
    height, width = shape
    if x.min() >= 0 and y.min() >= 0 and x.max() < width and y.max() < height:
        return None
    return (x >= -_EDGE) & (y >= -_EDGE) & (x <= width - _EDGE) & (y <= height - _EDGE)


def _under(places: Places, length: int) -> NDArray[np.intp]:
    """The pixels around places along one axis, or those nearest to them."""
    return np.minimum((_inside(places, length) + _EDGE).astype(np.intp), length - 1)


def _inside(places: Places, length: int) -> Places:
    return places if places.min() >= 0 and places.max() <= length else places.clip(0, length)


class _Taps:
    """Of each place, the pixels of one axis that have a weight: `count` of them from `first` on."""

    def __init__(self, centres: Places, reach: float) -> None:
        """`centres`: places where 0.0 is the centre of the first pixel."""
        first = np.ceil(centres - reach)
        self.first = first.astype(np.intp)
        self.count = math.ceil(2 * reach)
        from_first = centres - first
        self.sum: NDArray[np.float64] | None = None
        """Of the weights; None: 1."""
        if reach == 1:
            self.weights = [1 - from_first, from_first]
        else:
            self.weights = [np.maximum(1 - np.abs(from_first - tap) / reach, 0) for tap in range(self.count)]
            self.sum = sum(self.weights[1:], start=self.weights[0])


@dataclass(frozen=True, slots=True, eq=False)
class _Box:
    """The part of a raster that some places need, float64, 0 where it is not valid, beside of it too."""

    top: int
    left: int
    data: NDArray[np.float64]
    valid: NDArray[np.bool_] | None
    """None: all are."""

    @classmethod
    def around(cls, raster: Layer, across: _Taps, down: _Taps) -> _Box:
        top, left = int(down.first.min()), int(across.first.min())
        bottom, right = int(down.first.max()) + down.count, int(across.first.max()) + across.count
        height, width = raster.data.shape
        part = (slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width)))
        data, valid = raster.data[part].astype(np.float64), raster.valid[part]
        if raster.data.dtype.kind == "f":
            valid = valid & np.isfinite(data)
        if data.shape != (bottom - top, right - left):
            around = [(each.start - start, stop - each.stop) for each, start, stop in zip(part, (top, left), (bottom, right), strict=True)]
            data, valid = np.pad(data, around), np.pad(valid, around)
        if valid.all():
            return cls(top, left, data, None)
        data[~valid] = 0
        return cls(top, left, data, valid)


def _mean(box: _Box, index: NDArray[np.intp], across: _Taps, down: _Taps) -> NDArray[np.float64]:
    """By the weights of the taps; where none has any, 0."""
    mean = _sum(box.data, index, across, down)
    if box.valid is None:
        for axis in (across, down):
            if axis.sum is not None:
                mean /= axis.sum
        return mean
    weight = _sum(box.valid.astype(np.float64), index, across, down)
    return np.divide(mean, weight, out=mean, where=weight > 0)


def _sum(data: NDArray[np.float64], index: NDArray[np.intp], across: _Taps, down: _Taps) -> NDArray[np.float64]:
    """Of the values, each times its weights. `index` is that of the first tap of each place in the flat `data`."""
    flat, width = data.ravel(), data.shape[1]
    total = np.zeros(index.shape)
    for row, of_row in enumerate(down.weights):
        line = np.zeros(index.shape)
        for col, of_col in enumerate(across.weights):
            line += flat[row * width + col :].take(index) * of_col
        total += line * of_row
    return total
