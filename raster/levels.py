"""One directory as a level: samples, block grid and tile tables, all checked against each other and against the file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
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
    jpeg_tables: bytes | None

    def like(self, other: Samples) -> bool:
        """True = pixels of both decode to the same kind of array, so that one can be the overview of the other."""
        mine = (self.bits, self.format, self.count, self.planar, self.photometric)
        return mine == (other.bits, other.format, other.count, other.planar, other.photometric)


def samples_of(tags: Tags) -> Samples:
    """Raises `Unreadable` where samples differ among themselves, or are of a kind that GDAL has no type for."""
    count = tags.get(fields.SAMPLES_PER_PIXEL, 1)
    if not 1 <= count <= fields.MAX_SAMPLES:
        raise Unreadable(f"SamplesPerPixel {count} is not in 1..{fields.MAX_SAMPLES}", reason="samples")
    planar = tags.get(fields.PLANAR_CONFIGURATION, 1)
    if planar not in (1, 2):
        raise Unreadable(f"PlanarConfiguration {planar} is neither 1 (chunky) nor 2 (separate)", reason="samples")
    bits = _uniform(tags.get(fields.BITS_PER_SAMPLE, (1,)), count, "BitsPerSample")
    kind = _uniform(tags.get(fields.SAMPLE_FORMAT, (1,)), count, "SampleFormat")
    return Samples(bits, kind, count, planar, tags.get(fields.PHOTOMETRIC, 1), dtype_of(bits, kind), tags.get(fields.JPEG_TABLES))


def _uniform(values: tuple[int, ...], count: int, name: str) -> int:
    if len(values) not in (1, count) or (len(values) > 1 and len(set(values)) > 1):
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


def level_of(tags: Tags, samples: Samples, size: int | None, budget: list[int]) -> Level:
    """The level that `tags` describe. `budget` holds the tiles that all levels of the file may still have.

    Raises `Unreadable` where a tag is missing, sizes are out of bounds, or a tile lies outside the file.
    """
    width, height = _side(tags, fields.WIDTH), _side(tags, fields.HEIGHT)
    tiled = fields.TILE_WIDTH in tags or fields.TILE_OFFSETS in tags
    if tiled:
        tile_width, tile_height = _tile_side(tags, fields.TILE_WIDTH), _tile_side(tags, fields.TILE_HEIGHT)
    else:
        tile_width, tile_height = width, _strip_height(tags, height)
    raw = (tile_width * (samples.count if samples.planar == 1 else 1) * samples.bits + 7) // 8 * tile_height
    if raw > MAX_TILE_BYTES:
        raise Unreadable(f"a block of {tile_width} x {tile_height} pixels has {raw} bytes, more than {MAX_TILE_BYTES}", reason="tile-size")
    expected = -(-width // tile_width) * -(-height // tile_height) * (samples.count if samples.planar == 2 else 1)
    budget[0] -= expected
    if budget[0] < 0:
        raise Unreadable(f"the file has more than {fields.MAX_ALL_TILES} tiles", reason="too-large")
    offsets, counts = _tables(tags, tiled=tiled, expected=expected)
    _check_tables(offsets, counts, 2 * raw + 65_536, size)
    compression = tags.get(fields.COMPRESSION, 1)
    if compression == 1 and expected == 1 and not tiled and samples.planar == 1 and offsets[0]:
        tile_height, offsets, counts = _chopped(raw // tile_height, (tile_height, height), offsets, counts)
    predictor = tags.get(fields.PREDICTOR, 1)
    return Level(
        width=width,
        height=height,
        tile_width=tile_width,
        tile_height=tile_height,
        tile_offsets=offsets,
        tile_byte_counts=counts,
        compression=compression,
        predictor=predictor,
        jpeg_tables=samples.jpeg_tables,
    )


def _required(tags: Tags, tag: int) -> Any:
    value = tags.get(tag)
    if value is None:
        raise Unreadable(f"tag {tag} ({fields.RULES[tag].name}) is missing", reason="missing-tag")
    return value


def _side(tags: Tags, tag: int) -> int:
    side = _required(tags, tag)
    if not 0 < side < MAX_SIDE:
        raise Unreadable(f"{fields.RULES[tag].name} {side} is not in 1..{MAX_SIDE - 1}", reason="image-size")
    return side


def _tile_side(tags: Tags, tag: int) -> int:
    """TIFF 6.0 wants multiples of 16, and no real file that we know of has others."""
    side = _required(tags, tag)
    if not 0 < side <= MAX_TILE_SIDE or side % 16:
        raise Unreadable(f"{fields.RULES[tag].name} {side} is not a multiple of 16 up to {MAX_TILE_SIDE}", reason="tile-size")
    return side


def _strip_height(tags: Tags, height: int) -> int:
    rows = min(tags.get(fields.ROWS_PER_STRIP, height), height)
    if rows < 1:
        raise Unreadable(f"RowsPerStrip {rows} is not positive", reason="tile-size")
    return rows


def _tables(tags: Tags, *, tiled: bool, expected: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    offsets = _required(tags, fields.TILE_OFFSETS if tiled else fields.STRIP_OFFSETS)
    counts = _required(tags, fields.TILE_BYTE_COUNTS if tiled else fields.STRIP_BYTE_COUNTS)
    if len(offsets) != expected or len(counts) != expected:
        message = f"{expected} tiles have {len(offsets)} offsets and {len(counts)} byte counts"
        raise Unreadable(message, reason="tile-count")
    return offsets.astype(np.int64), counts.astype(np.int64)


def _check_tables(offsets: NDArray[np.int64], counts: NDArray[np.int64], limit: int, size: int | None) -> None:
    largest, furthest, end = (int(np.maximum.reduce(values.view(np.uint64))) for values in (counts, offsets, offsets + counts))
    if largest > limit:
        raise Unreadable(f"a tile of {largest} bytes is larger than twice its pixels ({limit} bytes)", reason="tile-bytes")
    top = FAR if size is None else size
    if furthest > top or end > top:
        raise Unreadable(
            f"a tile ends at byte {max(furthest, end)}, beyond the file's {top}", reason="truncated", remedy="fetch the file again"
        )
    filled = np.count_nonzero(counts)
    if (filled < len(counts) or np.count_nonzero(offsets) < len(offsets)) and np.any((offsets == 0) != (counts == 0)):
        raise Unreadable("a tile has an offset without bytes or bytes without an offset", reason="tile-offset")


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
