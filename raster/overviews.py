"""The resolutions of a file: the full one and its overviews, and which of them GDAL takes for a resolution that is asked."""

from __future__ import annotations

from rasterloom.errors import Unreadable
from rasterloom.raster.header import Header, Level

_NEAR = 0.1
"""GDAL's own slack, for overviews whose size was rounded (`GDALBandGetBestOverviewLevel2`)."""
NEAREST, SMOOTH = 1.2, 1.0
"""So many times coarser than what is asked an overview may be: GDAL's threshold for nearest, and for all other resampling."""


def level_of(header: Header, number: int) -> Level:
    """0 is the full resolution, n the n-th overview. Raises `Unreadable` (`overview`) where the file has no such."""
    if not 0 <= number <= len(header.overviews):
        raise Unreadable(
            f"the file has no overview {number}, only {len(header.overviews)}", reason="overview", remedy="ask for a finer resolution"
        )
    return header.overviews[number - 1] if number else header.full


def mask_of(header: Header, number: int) -> Level | None:
    """The internal mask of a level, as GDAL has it: an overview without one of its own has none."""
    if number == 0:
        return header.mask
    level = level_of(header, number)
    return next((mask for mask in header.overview_masks if (mask.width, mask.height) == (level.width, level.height)), None)


def level_for(header: Header, coarser: float, *, threshold: float = SMOOTH) -> int:
    """The level to read for pixels that are `coarser` times as long as those of the full resolution (the finer of both sides).

    Rule of GDAL's RasterIO: the coarsest overview that is not `threshold` times coarser than what is asked.
    """
    if coarser <= 1:
        return 0
    best, found = 1.0, 0
    for number, level in enumerate(header.overviews, 1):
        factor = min(header.full.width / level.width, header.full.height / level.height)
        if best < factor < coarser * threshold + _NEAR:
            best, found = factor, number
    return found
