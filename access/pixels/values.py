"""What is asked of the engine and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rasterloom.errors import RasterloomError
from rasterloom.raster.header import Header
from rasterloom.raster.tiles import Window
from rasterloom.raster.validity import valid_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BandFile:
    """One band of one scene: where its file lies and what its header says."""

    scene: str
    """Id of the row."""
    band: str
    """Code of the band."""
    href: str
    band_index: int
    """0-based sample of the file."""
    header: Header
    crs: str
    """`EPSG:n`, else WKT2 or PROJJSON text."""
    datetime: datetime | None = None
    """Naive UTC."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WindowRead:
    """Pixels to read: `window` must lie inside of the level."""

    file: BandFile
    window: Window
    """In pixels of the level."""
    level: int = 0
    """0 is the full resolution, n the n-th overview of the header."""


class Pixels:
    """The answer to a `WindowRead`."""

    __slots__ = ("_nodata", "_valid", "data")

    def __init__(self, *, data: NDArray[Any], valid: NDArray[np.bool_] | None = None, nodata: float | None = None) -> None:
        """Without `valid`, it is where `data` is not `nodata`."""
        self.data = data
        """Shape (height, width), in the dtype of the file; where `valid` is False what the file holds, or its fill value where it is
        sparse."""
        self._valid = valid
        self._nodata = nodata

    @property
    def valid(self) -> NDArray[np.bool_]:
        """True = valid, shape (height, width): neither nodata (NaN included), nor masked by the internal mask or by alpha.

        Made when it is first asked for, so ask before you change `data`: half as much memory again is not for who needs no mask.
        """
        if self._valid is None:
            self._valid = valid_of(self.data, self._nodata)
        return self._valid


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """What became of one `WindowRead`."""

    index: int
    """0-based place of the read in what was asked."""
    read: Pixels | RasterloomError
    """The error is `Unreadable`, `Unavailable` or `AccessDenied`: one file's, and no reason to stop reading the others."""

    @property
    def pixels(self) -> Pixels:
        """Raises the error where there is one."""
        if isinstance(self.read, RasterloomError):
            raise self.read
        return self.read
