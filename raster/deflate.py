"""Deflated tiles of plain numbers, by far the most common ones: no more rows than are wanted, in memory that is used again."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from rasterloom.raster.recycled import Recycled

DEFLATE = frozenset({8, 32946})
"""Compressions."""
Inflate = Callable[[bytes | memoryview, int, Recycled], NDArray[Any] | None]
"""Bytes of a tile, rows that are wanted from its top -> at least those, shape (rows, columns, samples); None where it is not so simple:
then the general decoder says what is wrong with the tile, if anything is."""

_FORMATS = {1: "u", 2: "i", 3: "f"}
_HAS_ISAL = bool(getattr(getattr(imagecodecs, "ISAL", None), "available", False))  # not in every build, nor in older ones
_FULL = "ISAL_OUT_OVERFLOW"
"""The word of ISA-L for an output that is full before the stream has ended. A stream that ends too early is ISAL_END_INPUT."""
_FEW = 0.75 if _HAS_ISAL else 0.4
"""Up to this share of its rows a tile is not inflated to its end, and the check of the whole is left out. libdeflate can only do whole
tiles; ISA-L takes 1.1 to 1.4 times as long per row, zlib twice as long."""


def inflater(*, width: int, height: int, samples: int, bits: int, sample_format: int, predictor: int, byte_order: str) -> Inflate | None:
    """For tiles of `width` x `height` pixels; None for what needs the general decoder."""
    native = byte_order == {"little": "<", "big": ">"}[sys.byteorder] or bits == 8
    plain = predictor == 1 or (predictor == 2 and sample_format != 3)
    if not native or not plain or sample_format not in _FORMATS or bits not in (8, 16, 32, 64) or (sample_format == 3 and bits == 8):
        return None
    dtype = np.dtype(f"{_FORMATS[sample_format]}{bits // 8}")
    row = width * samples * dtype.itemsize

    def inflate(data: bytes | memoryview, rows: int, memory: Recycled) -> NDArray[Any] | None:
        few = rows <= _FEW * height
        place = (_beginning if few else _whole)(data, memory.empty(row * (rows if few else height)))
        if place is None:
            return None
        pixels = place.view(dtype).reshape(-1, width, samples)
        return imagecodecs.delta_decode(pixels, axis=-2, out=pixels) if predictor == 2 else pixels

    return inflate


def _whole(data: bytes | memoryview, place: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    stream: Any = data  # imagecodecs takes arrays and any buffer, its stubs do not
    out: Any = place
    try:
        return place if len(imagecodecs.deflate_decode(stream, out=out)) == len(place) else None
    except imagecodecs.DeflateError:
        return None


def _beginning(data: bytes | memoryview, place: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """The first bytes of what `data` is inflated to."""
    out: Any = place
    if _HAS_ISAL:
        try:
            return place if len(imagecodecs.isal_decode(data, out=out)) == len(place) else None
        except imagecodecs.IsalError as error:
            return place if _FULL in str(error) else None
    try:
        found = zlib.decompressobj().decompress(data, len(place))
    except zlib.error:
        return None
    return np.frombuffer(bytearray(found), np.uint8) if len(found) == len(place) else None
