"""Which pixels of a band are valid, by GDAL's order of precedence (`GDALRasterBand::GetMaskBand`).

1. An internal mask of the level that is read: where it is 0, no band is valid.
2. Else nodata: a pixel that equals it in the type of the band (NaN equals NaN; of complex numbers the real part), is not valid.
3. Else alpha, of files of 2 or 4 samples of 8 or 16 bits whose last one is alpha: where it is 0, the other bands are not valid.
4. Else all are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rasterloom.raster.header import Header
from rasterloom.raster.metadata import EXACT

_ALPHA = frozenset({1, 2})
"""ExtraSamples: associated and unassociated alpha."""
_RGB = 2


def valid_of(data: NDArray[Any], nodata: float | None) -> NDArray[np.bool_]:
    """True where `data` is not nodata, in the shape of `data`."""
    if nodata is None:
        return np.ones(data.shape, bool)
    values = np.real(data) if data.dtype.kind == "c" else data
    if nodata != nodata:
        return ~np.isnan(values)
    if values.dtype.kind in "iu":
        return values != int(nodata) if nodata == int(nodata) else np.ones(data.shape, bool)
    # GDAL compares half floats as floats: nodata need not be a half
    return (values.astype(np.float32) if values.itemsize < 4 else values) != nodata


def alpha_of(header: Header, band_index: int) -> int | None:
    """The 0-based sample that is the alpha of `band_index`, by the third rule."""
    samples = header.samples_per_pixel
    if samples not in (2, 4) or band_index == samples - 1 or header.dtype not in ("uint8", "uint16"):
        return None
    if header.extra_samples is None:
        return samples - 1 if samples == 4 and header.photometric == _RGB else None
    return samples - 1 if header.extra_samples and header.extra_samples[-1] in _ALPHA else None


def mask_header(header: Header) -> Header:
    """The header by which tiles of an internal mask are decoded: one bit per pixel, 1 = valid, sparse tiles are not valid."""
    return replace(
        header,
        dtype="uint8",
        bits_per_sample=1,
        sample_format=1,
        samples_per_pixel=1,
        planar_configuration=1,
        photometric=1,
        extra_samples=None,
        nodata=None,
        jpeg_tables=None,
        lerc_parameters=None,
        ycbcr_subsampling=None,
    )


def is_exact(header: Header) -> bool:
    """Whether the nodata of a header is what the file says: one that went through a row is a float, which is not every whole number."""
    nodata = header.nodata
    return header.dtype not in ("int64", "uint64") or not isinstance(nodata, float) or abs(nodata) < EXACT
