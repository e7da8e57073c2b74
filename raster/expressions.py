"""Band maths on arrays: the trees of `rasterloom.specs.expressions`, with numpy.

Everything is computed in float64 and handed out as float32, so that no integer wraps (uint16 3 - 5 is -2) and only the result is rounded.
A pixel is invalid where a band that it is made of is, and where an operation has no finite result: x / 0, log(0), sqrt(-1), an overflow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rasterloom.raster.layers import Layer

Node = tuple[Any, ...]
"""`("number", 1.5)`, `("band", "B04")` or `(operation, Node, ...)`."""

_STRIP = 1 << 17
"""Pixels that are computed at once: every step of a large image would go through memory, of a strip it stays in the cache."""

_NUMBERS: dict[str, Callable[..., Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "**": np.power,
    "neg": np.negative,
    "abs": np.abs,
    "sqrt": np.sqrt,
    "log": np.log,
    "log10": np.log10,
    "exp": np.exp,
    "min": lambda *parts: reduce(np.minimum, parts),
    "max": lambda *parts: reduce(np.maximum, parts),
    "clip": lambda value, low, high: np.minimum(np.maximum(value, low), high),
}
"""Of float64; the result is float64."""
_COMPARISONS: dict[str, Callable[..., Any]] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
}
"""Of float64; the result is bool."""
_MASKS: dict[str, Callable[..., Any]] = {"&": np.logical_and, "|": np.logical_or, "~": np.logical_not}
"""Of bool; the result is bool."""


def evaluate(root: Node, bands: Mapping[str, Layer]) -> Layer:
    """What the expression is on `bands`, all of one shape: float32, or bool where it is a mask; NaN and False where it is invalid.

    Arrays may have any dimensions. Two numbers are compared as float64. `where` asks for the validity of its chosen branch alone.
    """
    shape = next(iter(bands.values())).data.shape
    rows = max(1, _STRIP // max(math.prod(shape[1:]), 1))
    strips = [
        _evaluated(root, {code: _rows(layer, slice(row, row + rows)) for code, layer in bands.items()})
        for row in range(0, max(shape[0], 1), rows)
    ]
    if len(strips) == 1:
        return strips[0]
    return Layer(np.concatenate([strip.data for strip in strips]), np.concatenate([strip.valid for strip in strips]))


def _rows(layer: Layer, rows: slice) -> Layer:
    return Layer(layer.data[rows], layer.valid[rows])


def _evaluated(root: Node, bands: Mapping[str, Layer]) -> Layer:
    with np.errstate(all="ignore"):
        found = _value(root, bands)
        if found.data.dtype == bool:
            return Layer(found.data & found.valid, found.valid)
        data = found.data.astype(np.float32)
    valid = found.valid & np.isfinite(data)
    data[~valid] = np.nan
    return Layer(data, valid)


def _value(node: Node, bands: Mapping[str, Layer]) -> Layer:
    """Float64 or bool."""
    if node[0] == "band":
        return _band(bands[node[1]])
    if node[0] == "number":
        return Layer(np.float64(node[1]), np.True_)  # type: ignore[arg-type]  # a scalar broadcasts as an array of no dimensions does
    parts = [_value(part, bands) for part in node[1:]]
    return _where(*parts) if node[0] == "where" else _applied(node[0], parts)


def _band(layer: Layer) -> Layer:
    data = layer.data.astype(np.float64)
    return Layer(data, layer.valid & np.isfinite(data) if layer.data.dtype.kind == "f" else layer.valid)


def _applied(operation: str, parts: list[Layer]) -> Layer:
    valid = reduce(np.logical_and, (part.valid for part in parts))
    if operation in _MASKS:
        return Layer(_MASKS[operation](*(part.data for part in parts)), valid)
    numbers = [_number(part.data) for part in parts]
    if operation in _COMPARISONS:
        return Layer(_COMPARISONS[operation](*numbers), valid)
    data = _NUMBERS[operation](*numbers)
    return Layer(data, valid & np.isfinite(data))


def _where(mask: Layer, yes: Layer, no: Layer) -> Layer:
    both_masks = yes.data.dtype == bool and no.data.dtype == bool
    data = np.where(mask.data, *((yes.data, no.data) if both_masks else (_number(yes.data), _number(no.data))))
    return Layer(data, mask.valid & np.where(mask.data, yes.valid, no.valid))


def _number(data: NDArray[Any]) -> NDArray[Any]:
    return data.astype(np.float64) if data.dtype == bool else data
