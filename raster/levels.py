"""One directory as a level: samples, block grid and tile tables, all checked against each other and against the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rasterloom.errors import Unreadable
from rasterloom.raster import fields
from rasterloom.raster.header import Level
from rasterloom.raster.ifd import Tags

MAX_SIDE = 1 << 31
"""Pixels."""
MAX_TILE_SIDE = 65_536
MAX_TILE_BYTES = 256 << 20
"""Decoded bytes of one block."""
FAR = 1 << 62
"""Bytes: no file is longer, where its length is not known."""
MAX_CODE = 0xFFFF
"""TIFF spells codes as SHORT; some writers use wider types for them."""
INT64, UINT64 = np.dtype(np.int64), np.dtype(np.uint64)
CHOPPED_STRIP = 8192
"""Bytes: libtiff's STRIP_SIZE_DEFAULT."""


@dataclass(frozen=True, slots=True)
class Samples:
    """How the samples of one directory lie."""

    bits: int
    format: int
    count: int
    planar: int
    photometric: int
    dtype: str


Numbers = int | tuple[int, ...]
"""The same for all samples, or one for each."""


def samples_of(tags: Tags) -> Samples:
    """Raises `Unreadable` where samples differ among themselves, or are of a kind that GDAL has no type for."""
    get = tags.get
    return _samples(
        get(fields.BITS_PER_SAMPLE, 1),
        get(fields.SAMPLE_FORMAT, 1),
        get(fields.SAMPLES_PER_PIXEL, 1),
        get(fields.PLANAR_CONFIGURATION, 1),
        get(fields.PHOTOMETRIC, 1),
    )


@lru_cache(maxsize=1024)
def _samples(bits: Numbers, formats: Numbers, count: int, planar: int, photometric: int) -> Samples:
    if not 1 <= count <= fields.MAX_SAMPLES:
        raise Unreadable(f"SamplesPerPixel {count} is not in 1..{fields.MAX_SAMPLES}", reason="samples")
    if photometric > MAX_CODE:
        raise Unreadable(f"PhotometricInterpretation {photometric} is more than {MAX_CODE}", reason="code")
    if planar not in (1, 2):
        raise Unreadable(f"PlanarConfiguration {planar} is neither 1 (chunky) nor 2 (separate)", reason="samples")
    width = _uniform(bits, count, "BitsPerSample")
    kind = _uniform(formats, count, "SampleFormat")
    return Samples(width, kind, count, planar, photometric, dtype_of(width, kind))


def _uniform(values: Numbers, count: int, name: str) -> int:
    if isinstance(values, int):
        return values
    if len(values) != count or len(set(values)) > 1:
        raise Unreadable(f"{name} {values[:8]} of {count} samples: samples of several kinds are not supported", reason="mixed-samples")
    return values[0]


@lru_cache(maxsize=256)
def dtype_of(bits: int, sample_format: int) -> str:
    """numpy name of the type that holds one sample; `complex_int16` and `complex_int32` are GDAL's, numpy has none."""
    widths = {1: (8, 16, 32, 64), 2: (8, 16, 32, 64), 3: (16, 32, 64), 5: (32, 64), 6: (64, 128)}
    kind = 1 if sample_format in (0, 4) else sample_format
    width = next((width for width in widths.get(kind, ()) if bits <= width), 0)
    exact = kind in (2, 5, 6) and bits != width
    if bits < 1 or not width or exact or (kind == 3 and bits not in (16, 24, 32, 64)):
        raise Unreadable(f"{bits} bits of SampleFormat {sample_format} are not supported", reason="sample-format")
    names = {1: f"uint{width}", 2: f"int{width}", 3: f"float{width}", 5: f"complex_int{width // 2}", 6: f"complex{width}"}
    return names[kind]


def sample_format_of(dtype: str) -> tuple[int, int]:
    """BitsPerSample and SampleFormat (tag 339) of a type name of `dtype_of`."""
    if dtype.startswith("complex_int"):
        return 2 * int(dtype.removeprefix("complex_int")), 5
    kind = np.dtype(dtype)
    return 8 * kind.itemsize, {"u": 1, "i": 2, "f": 3, "c": 6}[kind.kind]


def codes_of(tags: Tags, tag: int) -> tuple[int, ...] | None:
    """The values of a tag that holds codes, or None without it."""
    values = tags.get(tag)
    if values is not None and max(values) > MAX_CODE:
        raise Unreadable(f"tag {tag} ({fields.RULES[tag].name}) holds {max(values)}, more than {MAX_CODE}", reason="code")
    return values


@dataclass(frozen=True, slots=True)
class Grid:
    """The blocks of one directory, as far as they do not depend on where the blocks are."""

    width: int
    height: int
    tile_width: int
    tile_height: int
    tiled: bool
    raw: int
    """Bytes of a decoded block."""
    tiles: int

    @property
    def limit(self) -> int:
        """Bytes that a block may take in the file."""
        return 2 * self.raw + 65_536


Tables = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Offsets and byte counts."""


def levels_of(directories: Sequence[tuple[Tags, Samples]], size: int | None) -> list[Level]:
    """The levels that the directories of one file describe.

    Raises `Unreadable` where a tag is missing, sizes are out of bounds, or a tile lies outside the file.
    """
    budget = fields.MAX_ALL_TILES
    grids: list[Grid] = []
    for tags, samples in directories:
        grid = grid_of(tags, samples)
        budget -= grid.tiles
        if budget < 0:
            raise Unreadable(f"the file has more than {fields.MAX_ALL_TILES} tiles", reason="too-large")
        grids.append(grid)
    tables = [_raw_tables(tags, grid) for (tags, _), grid in zip(directories, grids, strict=True)]
    sound = all_sound(tables, min(grid.limit for grid in grids), size)
    checked = sound or [_tables(offsets, counts, grid.limit, size) for (offsets, counts), grid in zip(tables, grids, strict=True)]
    return [_level(tags, samples, grid, found) for (tags, samples), grid, found in zip(directories, grids, checked, strict=True)]


def grid_of(tags: Tags, samples: Samples) -> Grid:
    """Raises `Unreadable` where a tag is missing, or sizes are out of bounds."""
    if fields.TILE_WIDTH in tags or fields.TILE_OFFSETS in tags:
        return _tiled(tags[fields.WIDTH], tags[fields.HEIGHT], tags[fields.TILE_WIDTH], tags[fields.TILE_HEIGHT], samples)
    return _striped(tags[fields.WIDTH], tags[fields.HEIGHT], tags.get(fields.ROWS_PER_STRIP, MAX_SIDE), samples)


def _level(tags: Tags, samples: Samples, grid: Grid, tables: Tables) -> Level:
    offsets, counts = tables
    tile_height, compression, predictor = grid.tile_height, tags.get(fields.COMPRESSION, 1), tags.get(fields.PREDICTOR, 1)
    if compression == 1 and grid.tiles == 1 and not grid.tiled and samples.planar == 1 and offsets[0]:
        tile_height, offsets, counts = _chopped(grid.raw // tile_height, (tile_height, grid.height), offsets, counts)
    if compression > MAX_CODE or predictor > MAX_CODE:
        raise Unreadable(f"Compression {compression} or Predictor {predictor} is more than {MAX_CODE}", reason="code")
    return Level(
        width=grid.width,
        height=grid.height,
        tile_width=grid.tile_width,
        tile_height=tile_height,
        tile_offsets=offsets,
        tile_byte_counts=counts,
        compression=compression,
        predictor=predictor,
        jpeg_tables=tags.get(fields.JPEG_TABLES),
    )


@lru_cache(maxsize=1024)
def _tiled(width: int, height: int, tile_width: int, tile_height: int, samples: Samples) -> Grid:
    """Remembered: the files of a collection have few sizes."""
    _check_side(fields.WIDTH, width)
    _check_side(fields.HEIGHT, height)
    _check_tile_side(fields.TILE_WIDTH, tile_width)
    _check_tile_side(fields.TILE_HEIGHT, tile_height)
    return _grid((width, height), (tile_width, tile_height), samples, tiled=True)


@lru_cache(maxsize=1024)
def _striped(width: int, height: int, rows: int, samples: Samples) -> Grid:
    _check_side(fields.WIDTH, width)
    _check_side(fields.HEIGHT, height)
    if rows < 1:
        raise Unreadable(f"RowsPerStrip {rows} is not positive", reason="tile-size")
    return _grid((width, height), (width, min(rows, height)), samples, tiled=False)


def _grid(size: tuple[int, int], tile: tuple[int, int], samples: Samples, *, tiled: bool) -> Grid:
    (width, height), (tile_width, tile_height) = size, tile
    raw = (tile_width * (samples.count if samples.planar == 1 else 1) * samples.bits + 7) // 8 * tile_height
    if raw > MAX_TILE_BYTES:
        raise Unreadable(f"a block of {tile_width} x {tile_height} pixels has {raw} bytes, more than {MAX_TILE_BYTES}", reason="tile-size")
    tiles = -(-width // tile_width) * -(-height // tile_height) * (samples.count if samples.planar == 2 else 1)
    return Grid(width, height, tile_width, tile_height, tiled, raw, tiles)


def _check_side(tag: int, side: int) -> None:
    if not 0 < side < MAX_SIDE:
        raise Unreadable(f"{fields.RULES[tag].name} {side} is not in 1..{MAX_SIDE - 1}", reason="image-size")


def _check_tile_side(tag: int, side: int) -> None:
    """TIFF 6.0 wants multiples of 16, and no real file that we know of has others."""
    if not 0 < side <= MAX_TILE_SIDE or side % 16:
        raise Unreadable(f"{fields.RULES[tag].name} {side} is not a multiple of 16 up to {MAX_TILE_SIDE}", reason="tile-size")


def _raw_tables(tags: Tags, grid: Grid) -> tuple[NDArray[Any], NDArray[Any]]:
    """As they stand in the file."""
    offsets = tags[fields.TILE_OFFSETS if grid.tiled else fields.STRIP_OFFSETS]
    counts = tags[fields.TILE_BYTE_COUNTS if grid.tiled else fields.STRIP_BYTE_COUNTS]
    if len(offsets) != grid.tiles or len(counts) != grid.tiles:
        message = f"{grid.tiles} tiles have {len(offsets)} offsets and {len(counts)} byte counts"
        raise Unreadable(message, reason="tile-count")
    return offsets, counts


def all_sound(tables: Sequence[tuple[NDArray[Any], NDArray[Any]]], limit: int, size: int | None) -> list[Tables] | None:
    """The tables of all levels, checked at once: what is ordinary costs a few array operations per file and not per level.

    None: as `sound`.
    """
    flat = np.concatenate([*(offsets for offsets, _ in tables), *(counts for _, counts in tables)], dtype=INT64, casting="unsafe")
    ends = list(accumulate(len(offsets) for offsets, _ in tables))
    return sound(flat, [slice(start, stop) for start, stop in pairwise([0, *ends])], limit, size)


def sound(flat: NDArray[np.int64], levels: Sequence[slice], limit: int, size: int | None) -> list[Tables] | None:
    """The tables of each level out of `flat`, the offsets of all and then the byte counts of all; unsigned 64-bit values may have wrapped.

    None: something is not ordinary (a sparse tile among them); `_tables` finds out what.
    """
    half = len(flat) // 2
    offsets, counts = flat[:half], flat[half:]
    if np.minimum.reduce(flat) <= 0 or np.maximum.reduce(counts) > limit:
        return None
    # no value is negative, so a sum that overflows is, and as an unsigned number it is larger than any file
    if np.maximum.reduce((offsets + counts).view(UINT64)) > (FAR if size is None else size):
        return None
    return [(offsets[part], counts[part]) for part in levels]


def _tables(offsets: NDArray[Any], counts: NDArray[Any], limit: int, size: int | None) -> Tables:
    """Each tile inside the file (or sparse: 0 and 0) and at most `limit` bytes."""
    expected = len(offsets)
    largest, furthest, top = int(np.maximum.reduce(counts)), 0, FAR if size is None else size
    if offsets.itemsize == 8:  # only then can a sum overflow
        furthest = int(np.maximum.reduce(offsets))
    if largest > limit:
        raise Unreadable(f"a tile of {largest} bytes is larger than twice its pixels ({limit} bytes)", reason="tile-bytes")
    sparse = np.count_nonzero(counts) < expected or np.count_nonzero(offsets) < expected
    if sparse and np.any((offsets == 0) != (counts == 0)):
        raise Unreadable("a tile has an offset without bytes or bytes without an offset", reason="tile-offset")
    if furthest <= top:
        offsets, counts = offsets.astype(INT64), counts.astype(INT64)
        furthest = int(np.maximum.reduce(offsets + counts))
    if furthest > top:
        message = f"a tile reaches to byte {furthest}, beyond the file's {top}"
        raise Unreadable(message, reason="truncated", remedy="fetch the file again")
    return offsets, counts


def _chopped(
    row_bytes: int, heights: tuple[int, int], offsets: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:
    """One uncompressed strip, cut into blocks of about 8 KiB as libtiff does for GDAL (`ChopUpSingleUncompressedStrip`)."""
    strip_height, height = heights
    rows = max(CHOPPED_STRIP // row_bytes, 1)
    if rows >= strip_height:
        return strip_height, offsets, counts
    starts = np.arange(-(-height // rows), dtype=np.int64) * (rows * row_bytes)
    return rows, offsets[0] + starts, np.clip(counts[0] - starts, 0, rows * row_bytes)
