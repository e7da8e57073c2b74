"""Which pixels a mask band leaves in: by the values of its classes or by the bits of its flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rasterloom.errors import SpecError
from rasterloom.raster.layers import Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskRule:
    """What one mask band leaves out. A pixel that is invalid in the mask band is left out by every rule."""

    band: str
    """Code of the mask band; where it is resampled, by the nearest pixel."""
    values: tuple[float, ...] = ()
    """A pixel with one of these is left out."""
    keep: tuple[float, ...] | None = None
    """A pixel with none of these is left out."""
    bits: tuple[int, ...] = ()
    """0-based from the lowest; a pixel with any of these set is left out."""

    def __post_init__(self) -> None:
        if not (self.values or self.keep is not None or self.bits):
            raise SpecError(f"the mask of {self.band} leaves nothing out", remedy="give values, keep or bits")


def kept(rule: MaskRule, layer: Layer) -> NDArray[np.bool_]:
    """True = the pixel stays, shape (height, width). Raises SpecError where the band cannot hold what the rule asks for."""
    inside = layer.valid.copy()
    if rule.values:
        inside &= ~_members(layer.data, rule.values)
    if rule.keep is not None:
        inside &= _members(layer.data, rule.keep)
    if rule.bits:
        inside &= (_unsigned(rule, layer.data) & _flags(rule, layer.data.dtype)) == 0
    return inside


def _members(data: NDArray[Any], values: tuple[float, ...]) -> NDArray[np.bool_]:
    if data.dtype.kind not in "iu":
        return np.isin(data, values)
    limits = np.iinfo(data.dtype)
    # What no pixel can hold is left out: of whole numbers in the same type numpy makes a table, which is faster than to sort.
    return np.isin(data, np.array([value for value in values if value == int(value) and limits.min <= value <= limits.max], data.dtype))


def _unsigned(rule: MaskRule, data: NDArray[Any]) -> NDArray[Any]:
    if data.dtype.kind not in "iu":
        raise SpecError(f"the mask band {rule.band} holds {data.dtype}, bits are of whole numbers", remedy="give values or keep")
    # Not a view: that would read the bytes of a big-endian file in the order of this machine.
    return data.astype(f"u{data.dtype.itemsize}", copy=False)


def _flags(rule: MaskRule, dtype: np.dtype[Any]) -> Any:
    width = 8 * dtype.itemsize
    if max(rule.bits) >= width:
        raise SpecError(
            f"the mask band {rule.band} has the bits 0 to {width - 1}, not {max(rule.bits)}", remedy="count from 0, the lowest bit"
        )
    return np.dtype(f"u{dtype.itemsize}").type(sum(1 << bit for bit in set(rule.bits)))
