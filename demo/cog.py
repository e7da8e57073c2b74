"""A small writer of valid COGs: classic little-endian TIFF, uint16, DEFLATE with predictor 2, square tiles, overviews.

Layout (OGC 21-026, GDAL "COG file format"): header, structural metadata, all IFDs from full resolution to the smallest
overview, then the tiles, smallest overview first, row by row, each between its size and a repeat of its last 4 bytes.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint16]

_TEMPLATE = {"ascii": (2, "s"), "short": (3, "H"), "long": (4, "I"), "double": (12, "d")}
_STRUCTURE = (
    b"LAYOUT=IFDS_BEFORE_DATA\nBLOCK_ORDER=ROW_MAJOR\nBLOCK_LEADER=SIZE_AS_UINT4\n"
    b"BLOCK_TRAILER=LAST_4_BYTES_REPEATED\nKNOWN_INCOMPATIBLE_EDITION=NO\n "
)
_GHOST = b"GDAL_STRUCTURAL_METADATA_SIZE=%06d bytes\n" % len(_STRUCTURE) + _STRUCTURE
_LEADER = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Where square, north-up pixels lie: `west` and `north` are the outer corner of pixel (0, 0), in metres of the CRS."""

    epsg: int
    """A projected CRS in metres."""
    west: float
    north: float
    pixel: float
    """Edge of a pixel in metres."""


@dataclass(frozen=True, slots=True)
class _Tag:
    code: int
    kind: str
    values: tuple[int, ...] | tuple[float, ...] | bytes

    @property
    def count(self) -> int:
        return len(self.values)

    @property
    def payload(self) -> bytes:
        letter = _TEMPLATE[self.kind][1]
        return self.values if isinstance(self.values, bytes) else struct.pack(f"<{self.count}{letter}", *self.values)


@dataclass(frozen=True, slots=True)
class _Image:
    pixels: Pixels
    tiles: tuple[bytes, ...]
    """Compressed, row-major."""

    @property
    def stored(self) -> int:
        return sum(len(tile) + 2 * _LEADER for tile in self.tiles)


def cog_bytes(pixels: Pixels, grid: Grid, *, tile: int = 256, nodata: int = 0) -> bytes:
    """The COG file of one band, shape (height, width); `tile` is the edge of a tile in pixels, a multiple of 16."""
    images = [_image(level, tile=tile, nodata=nodata) for level in _pyramid(pixels, tile=tile, nodata=nodata)]
    places = _places(images, grid, tile=tile, nodata=nodata)
    ifds = _ifds(images, places, grid, tile=tile, nodata=nodata)
    data = b"".join(_framed(part) for image in reversed(images) for part in image.tiles)
    return struct.pack("<2sHI", b"II", 42, 8 + _even(len(_GHOST))) + _padded(_GHOST) + ifds + data


def _pyramid(pixels: Pixels, *, tile: int, nodata: int) -> list[Pixels]:
    levels = [pixels]
    while max(levels[-1].shape) > tile:
        levels.append(_halved(levels[-1], nodata=nodata))
    return levels


def _halved(pixels: Pixels, *, nodata: int) -> Pixels:
    """Mean of the valid pixels of each 2x2 block; nodata where there is none."""
    height, width = pixels.shape
    even = np.pad(pixels, ((0, height % 2), (0, width % 2)), constant_values=nodata)
    blocks = even.reshape((height + 1) // 2, 2, (width + 1) // 2, 2).astype(np.uint32)
    valid = blocks != nodata
    count = valid.sum(axis=(1, 3))
    total = (blocks * valid).sum(axis=(1, 3))
    return np.where(count > 0, total // np.maximum(count, 1), nodata).astype(np.uint16)


def _image(pixels: Pixels, *, tile: int, nodata: int) -> _Image:
    height, width = pixels.shape
    padded = np.pad(pixels, ((0, -height % tile), (0, -width % tile)), constant_values=nodata)
    corners = [(row, col) for row in range(0, height, tile) for col in range(0, width, tile)]
    return _Image(pixels, tuple(_compressed(padded[row : row + tile, col : col + tile]) for row, col in corners))


def _compressed(block: Pixels) -> bytes:
    # Predictor 2 (TIFF 6.0 section 14): each sample minus its left neighbour, modulo 2**16, before compression.
    differences = block.copy()
    differences[:, 1:] -= block[:, :-1]
    return zlib.compress(differences.astype("<u2").tobytes(), 1)


def _framed(part: bytes) -> bytes:
    return struct.pack("<I", len(part)) + part + part[-_LEADER:]


def _places(images: list[_Image], grid: Grid, *, tile: int, nodata: int) -> list[tuple[int, ...]]:
    """Tile offsets per image; the size of the IFDs does not depend on the offsets, so they are laid out with zeros first."""
    blank = [(0,) * len(image.tiles) for image in images]
    at = 8 + _even(len(_GHOST)) + len(_ifds(images, blank, grid, tile=tile, nodata=nodata))
    starts = [at + sum(later.stored for later in images[i + 1 :]) for i in range(len(images))]
    return [_offsets(start, image) for start, image in zip(starts, images, strict=True)]


def _offsets(start: int, image: _Image) -> tuple[int, ...]:
    steps = [len(part) + 2 * _LEADER for part in image.tiles]
    return tuple(int(at) for at in start + _LEADER + np.cumsum([0, *steps[:-1]]))


def _ifds(images: list[_Image], places: list[tuple[int, ...]], grid: Grid, *, tile: int, nodata: int) -> bytes:
    out, at = b"", 8 + _even(len(_GHOST))
    for number, (image, offsets) in enumerate(zip(images, places, strict=True)):
        tags = _tags(image, offsets, tile=tile, nodata=nodata)
        tags += _geo_tags(grid) if number == 0 else [_Tag(254, "long", (1,))]
        block = _ifd(sorted(tags, key=lambda tag: tag.code), at=at, last=number == len(images) - 1)
        out, at = out + block, at + len(block)
    return out


def _ifd(tags: list[_Tag], *, at: int, last: bool) -> bytes:
    """One IFD that starts at byte `at` of the file, with its long values right behind it and the link to the next one."""
    size = 2 + 12 * len(tags) + 4
    entries, values = b"", b""
    for tag in tags:
        payload = tag.payload
        inline = payload.ljust(4, b"\0") if len(payload) <= 4 else struct.pack("<I", at + size + len(values))
        entries += struct.pack("<HHI", tag.code, _TEMPLATE[tag.kind][0], tag.count) + inline
        values += _padded(payload) if len(payload) > 4 else b""
    following = 0 if last else at + size + len(values)
    return struct.pack("<H", len(tags)) + entries + struct.pack("<I", following) + values


def _tags(image: _Image, offsets: tuple[int, ...], *, tile: int, nodata: int) -> list[_Tag]:
    height, width = image.pixels.shape
    return [
        _Tag(256, "long", (width,)),
        _Tag(257, "long", (height,)),
        _Tag(258, "short", (16,)),
        _Tag(259, "short", (8,)),  # Adobe DEFLATE
        _Tag(262, "short", (1,)),  # min is black
        _Tag(277, "short", (1,)),
        _Tag(284, "short", (1,)),
        _Tag(317, "short", (2,)),
        _Tag(322, "long", (tile,)),
        _Tag(323, "long", (tile,)),
        _Tag(324, "long", offsets),
        _Tag(325, "long", tuple(map(len, image.tiles))),
        _Tag(339, "short", (1,)),
        _Tag(42113, "ascii", f"{nodata}\0".encode()),  # GDAL_NODATA
    ]


def _geo_tags(grid: Grid) -> list[_Tag]:
    # OGC GeoTIFF 1.1: GTModelType projected, GTRasterType PixelIsArea, ProjectedCRS, ProjLinearUnits metre.
    keys = (1, 1, 0, 4, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, grid.epsg, 3076, 0, 1, 9001)
    return [
        _Tag(33550, "double", (grid.pixel, grid.pixel, 0.0)),
        _Tag(33922, "double", (0.0, 0.0, 0.0, grid.west, grid.north, 0.0)),
        _Tag(34735, "short", keys),
    ]


def _padded(payload: bytes) -> bytes:
    return payload + b"\0" * (_even(len(payload)) - len(payload))


def _even(size: int) -> int:
    return size + size % 2
