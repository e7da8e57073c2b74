"""Which pixels of a grid a shape covers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rasterloom.raster.gdal import hide_false_warnings, load_gdal
from rasterloom.raster.header import Affine

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry


def inside(shape: BaseGeometry, affine: Affine, *, width: int, height: int, all_touched: bool = False) -> NDArray[np.bool_]:
    """True inside of the shape, shape (height, width): the rule of `rasterio.features.geometry_mask(invert=True)`.

    A pixel counts where its centre is inside of the shape, with `all_touched` where any part of it is. `shape` is in the units
    of `affine`, which gives the corner of pixel (0, 0).
    """
    load_gdal()
    from rasterio.features import geometry_mask  # noqa: PLC0415
    from rasterio.transform import Affine as Transform  # noqa: PLC0415

    if shape.is_empty or not width or not height:
        return np.zeros((height, width), bool)
    hide_false_warnings()
    found: NDArray[Any] = geometry_mask([shape], (height, width), Transform(*affine), all_touched=all_touched, invert=True)
    return found
