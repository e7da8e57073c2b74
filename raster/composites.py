"""One image of several: for each pixel what becomes of its valid values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rasterloom.raster.layers import Layer

Method = Literal["median", "mean", "min", "max", "first"]

PICKS: tuple[Method, ...] = ("min", "max", "first")
"""Methods whose result is one of the values, in their dtype."""


def dtype_of(method: Method, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What `composed` gives for layers of `dtype`: a mean or median of whole numbers has a fraction, which stays."""
    plain = np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")
    if method in PICKS:
        return plain
    return np.dtype(np.float32) if plain.itemsize <= 2 or plain == np.float32 else np.dtype(np.float64)


def composed(method: Method, layers: Sequence[Layer]) -> Layer:
    """The composite of at least one layer, all of one shape and dtype; invalid where none of them is valid.

    A median of an even number of values is the mean of the middle two. Truth values are 1 and 0. What `data` holds where it is
    invalid means nothing.
    """
    plain = [_plain(layer) for layer in layers]
    dtype = dtype_of(method, layers[0].data.dtype)
    if method == "median":
        return _median(plain, dtype)
    if method == "mean":
        return _mean(plain, dtype)
    return _picked(method, plain)


def _plain(layer: Layer) -> Layer:
    """NaN and infinities are no values, whatever a file says of its nodata."""
    if layer.data.dtype == bool:
        return Layer(layer.data.view(np.uint8), layer.valid)
    return Layer(layer.data, layer.valid & np.isfinite(layer.data)) if layer.data.dtype.kind == "f" else layer


def _median(layers: Sequence[Layer], dtype: np.dtype[Any]) -> Layer:
    shape = layers[0].data.shape
    # One row per pixel: its values lie side by side, the invalid ones behind all others.
    values = np.stack([layer.data.ravel() for layer in layers], axis=-1)
    valid = np.stack([layer.valid.ravel() for layer in layers], axis=-1)
    values[~valid] = np.inf if values.dtype.kind == "f" else np.iinfo(values.dtype).max
    values.sort(axis=-1)
    count = valid.sum(axis=-1)
    low = _at(values, np.maximum(count - 1, 0) // 2)
    high = _at(values, np.minimum(count // 2, len(layers) - 1))
    with np.errstate(invalid="ignore"):
        # Half of the difference is added, because the sum of two large numbers may have no float64.
        middle = low + (high - low) / 2
    return Layer(middle.astype(dtype).reshape(shape), (count > 0).reshape(shape))


def _at(values: NDArray[Any], places: NDArray[Any]) -> NDArray[np.float64]:
    return np.take_along_axis(values, places[:, None], axis=-1)[:, 0].astype(np.float64)


def _mean(layers: Sequence[Layer], dtype: np.dtype[Any]) -> Layer:
    total = np.zeros(layers[0].data.shape, np.float64)
    count = np.zeros(layers[0].data.shape, np.int32)
    for layer in layers:
        np.add(total, layer.data, out=total, where=layer.valid)
        count += layer.valid
    return Layer((total / np.maximum(count, 1)).astype(dtype), count > 0)


def _picked(method: Method, layers: Sequence[Layer]) -> Layer:
    data = layers[0].data.astype(layers[0].data.dtype.newbyteorder("="))
    valid = layers[0].valid.copy()
    for layer in layers[1:]:
        better = layer.valid & ~valid
        if method != "first":
            better |= layer.valid & (layer.data < data if method == "min" else layer.data > data)
        data[better] = layer.data[better]
        valid |= layer.valid
    return Layer(data, valid)
