"""What a header says: the values that `rasterloom.raster.tiff` reads out of the bytes of a TIFF."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rasterloom.errors import Unreadable

PARSER_VERSION = 1
"""Part of every cache key that covers parsed headers: raise it when a field is read differently."""

Affine = tuple[float, float, float, float, float, float]
"""`(a, b, c, d, e, f)`: x = a*col + b*row + c, y = d*col + e*row + f."""


@dataclass(frozen=TYPE_CHECKING, slots=True, kw_only=True, eq=False)
class Level:
    """One image of a TIFF: the full resolution, an overview, or a mask, as GDAL sees its blocks. Never changed, which pyright watches over:
    to have Python do it made up a third of parsing a header.

    A striped image is a grid of full-width blocks. Tile tables are row-major; for planar-separate files they hold all
    samples, sample by sample (`samples_per_pixel * tiles_across * tiles_down` entries).
    """

    width: int
    """Pixels."""
    height: int
    tile_width: int
    tile_height: int
    tile_offsets: NDArray[np.int64]
    """Bytes from the start of the file; 0 together with a byte count of 0 is a sparse tile."""
    tile_byte_counts: NDArray[np.int64]
    compression: int
    """TIFF tag 259."""
    predictor: int
    """TIFF tag 317; 1 = none."""
    jpeg_tables: bytes | None = None
    """TIFF tag 347 of this level: overviews may have another quality. None: the header's."""

    @property
    def stored(self) -> bool:
        """Whether the tile tables are here: a row of a collection leaves those of finer overviews in the file, and they are empty."""
        return len(self.tile_offsets) > 0

    @property
    def tiles_across(self) -> int:
        return -(-self.width // self.tile_width)

    @property
    def tiles_down(self) -> int:
        return -(-self.height // self.tile_height)


@dataclass(frozen=TYPE_CHECKING, slots=True, kw_only=True, eq=False)
class Header:
    """Everything of a COG that is needed to read its pixels with nothing but range requests. Never changed, as `Level`."""

    full: Level
    overviews: tuple[Level, ...]
    """From the largest to the smallest."""
    mask: Level | None
    """Internal mask of the full resolution (1 bit, 1 = valid)."""
    overview_masks: tuple[Level, ...]
    byte_order: str
    """`<` little-endian, `>` big-endian."""
    bigtiff: bool
    dtype: str
    """numpy name of one sample, e.g. `uint16`; for sub-byte samples the type that holds them, as in GDAL."""
    bits_per_sample: int
    sample_format: int
    """TIFF tag 339: 1 unsigned, 2 signed, 3 float, 5 complex int, 6 complex float."""
    samples_per_pixel: int
    planar_configuration: int
    """TIFF tag 284: 1 chunky (pixel-interleaved), 2 planar-separate (band-interleaved)."""
    photometric: int
    extra_samples: tuple[int, ...] | None
    transform: Affine | None
    """Of the corner of a pixel (PixelIsArea, whatever the file says). None: the file has no affine georeference
    (none at all, GCPs, RPCs)."""
    pixel_scale: tuple[float, ...] | None
    """Tag 33550 as it stands."""
    tiepoint: tuple[float, ...] | None
    """Tag 33922 as it stands."""
    epsg: int | None
    crs: str | None
    """`EPSG:32632`, else WKT2 or PROJJSON text, else None."""
    nodata: float | None
    """None where the file has none or says one that its dtype cannot hold (GDAL drops it too). An `int` for types of 64 bits beyond
    2**53, where a float is not exact; of a row of a collection always a float."""
    scales: tuple[float, ...] | None
    """value = stored * scale + offset, one per sample; None where the file names none. A header rebuilt from a row holds its
    band's alone."""
    offsets: tuple[float, ...] | None
    jpeg_tables: bytes | None
    lerc_parameters: tuple[int, ...] | None
    ycbcr_subsampling: tuple[int, int] | None
    header_end: int
    """First byte after the last header byte that was needed: what a first range should have covered."""
    etag: str | None = None
    size: int | None = None
    """Bytes of the whole file, where the store said so."""

    def band_tiles(self, band_index: int, level: Level | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Tile offsets and byte counts that hold the 0-based sample `band_index` of `level` (default: full resolution).

        For planar-separate files that is the band's slice; for chunky files the shared table. A header rebuilt from a row
        holds nothing but its band's slice, which is then the answer.
        Raises `Unreadable` (reason `band-index`) where the file has no such sample.
        """
        if not 0 <= band_index < self.samples_per_pixel:
            raise Unreadable(
                f"band_index {band_index} is not in 0..{self.samples_per_pixel - 1}", reason="band-index", remedy="correct band_index_map"
            )
        level = level or self.full
        if self.planar_configuration != 2 or self.samples_per_pixel == 1:
            return level.tile_offsets, level.tile_byte_counts
        count = level.tiles_across * level.tiles_down
        if len(level.tile_offsets) == count:
            return level.tile_offsets, level.tile_byte_counts
        part = slice(band_index * count, (band_index + 1) * count)
        return level.tile_offsets[part], level.tile_byte_counts[part]
