"""A grid of pixels on the Earth: what windows are cut from and what rasters are warped onto."""

from __future__ import annotations

from dataclasses import dataclass

from rasterloom.raster.header import Affine
from rasterloom.raster.tiles import Bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """`width` x `height` pixels whose corner (0, 0) and steps `affine` gives in the units of `crs`."""

    crs: str
    """`EPSG:32632`, else WKT2 or PROJJSON text."""
    affine: Affine
    """Of the corner of a pixel: x = a*col + b*row + c, y = d*col + e*row + f."""
    width: int
    """Pixels."""
    height: int

    @property
    def bounds(self) -> Bounds:
        """Of all four corners, in the units of `crs`."""
        a, b, c, d, e, f = self.affine
        corners = [(col, row) for col in (0, self.width) for row in (0, self.height)]
        xs = [a * col + b * row + c for col, row in corners]
        ys = [d * col + e * row + f for col, row in corners]
        return Bounds(left=min(xs), bottom=min(ys), right=max(xs), top=max(ys))
