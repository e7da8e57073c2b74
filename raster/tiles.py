"""Which tiles a window needs, and in which ranges of the file they lie. Pure arithmetic on stored tables."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from rasterloom.errors import Unreadable
from rasterloom.raster.header import Affine, Header, Level

GAP = 128 << 10
"""Bytes between two tiles up to which one request takes both (measured: smaller gaps make no fewer bytes, 1 MiB reads 5 times too many)."""
CAP = 8 << 20
"""Bytes of one range, so that a row of large tiles is not one slow stream. A tile that is larger is a range of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A part of a level, in pixels, 0-based. Always inside the level once it was clipped."""

    col: int
    row: int
    width: int
    height: int

    @property
    def empty(self) -> bool:
        return self.width <= 0 or self.height <= 0

    def clipped(self, other: Window) -> Window:
        """What both have in common; may be `empty`."""
        col, row = max(self.col, other.col), max(self.row, other.row)
        right, bottom = min(self.col + self.width, other.col + other.width), min(self.row + self.height, other.row + other.height)
        return Window(col=col, row=row, width=max(right - col, 0), height=max(bottom - row, 0))

    def inside(self, other: Window) -> bool:
        """Whether `other` has all of it."""
        return (
            self.col >= other.col
            and self.row >= other.row
            and self.col + self.width <= other.col + other.width
            and self.row + self.height <= other.row + other.height
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One block of a level and where its bytes lie. A `byte_count` of 0 is a sparse tile: nothing to fetch."""

    row: int
    col: int
    """Position in the grid of blocks, 0-based."""
    offset: int
    byte_count: int
    window: Window
    """The pixels of the level that it holds, without the padding of edge tiles."""


class Placed(Protocol):
    """Something with bytes in the file: a tile, or what somebody makes of one."""

    @property
    def offset(self) -> int: ...
    @property
    def byte_count(self) -> int: ...


P = TypeVar("P", bound=Placed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span(Generic[P]):
    """Bytes `start <= byte < end` of the file and the tiles in them."""

    start: int
    end: int
    tiles: tuple[P, ...]

    def bytes_of(self, tile: P, data: bytes | memoryview) -> bytes | memoryview:
        """The tile's slice of what was fetched for this range."""
        return data[tile.offset - self.start : tile.offset - self.start + tile.byte_count]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """In the units of the raster's CRS, left < right and bottom < top."""

    left: float
    bottom: float
    right: float
    top: float


def whole(level: Level) -> Window:
    return Window(col=0, row=0, width=level.width, height=level.height)


def level_affine(header: Header, level: Level) -> Affine:
    """The affine of the pixels of `level`: that of the full resolution with wider steps. Raises `Unreadable` (`transform`) without one."""
    if header.transform is None:
        raise Unreadable("the file has no affine georeference", reason="transform", remedy="leave the band out, or warp the file first")
    a, b, c, d, e, f = header.transform
    across, down = header.full.width / level.width, header.full.height / level.height
    return a * across, b * down, c, d * across, e * down, f


def window_affine(affine: Affine, window: Window) -> Affine:
    """The affine of the window's own pixels."""
    a, b, c, d, e, f = affine
    return a, b, c + a * window.col + b * window.row, d, e, f + d * window.col + e * window.row


def window_of_bounds(header: Header, level: Level, bounds: Bounds) -> Window:
    """The pixels of `level` that `bounds` touch, clipped to it (`empty` where they miss it)."""
    return window_around(level_affine(header, level), bounds).clipped(whole(level))


def window_around(affine: Affine, bounds: Bounds) -> Window:
    """The pixels of a grid without end that `bounds` touch.

    Rule of `rasterio.features.geometry_window`: first pixel floored, last one ceiled, of all four corners (rotated grids too).
    Numbers within 1e-8 of a pixel edge are taken as the edge.
    """
    a, b, c, d, e, f = affine
    area = a * e - b * d
    corners = [(x - c, y - f) for x in (bounds.left, bounds.right) for y in (bounds.bottom, bounds.top)]
    cols = [(e * x - b * y) / area for x, y in corners]
    rows = [(a * y - d * x) / area for x, y in corners]
    col, row = (math.floor(_snapped(min(values))) for values in (cols, rows))
    right, bottom = (math.ceil(_snapped(max(values))) for values in (cols, rows))
    return Window(col=col, row=row, width=right - col, height=bottom - row)


def _snapped(value: float) -> float:
    nearest = round(value)
    return nearest if abs(value - nearest) < 1e-8 * max(1.0, abs(value)) else value


def tiles_of(header: Header, band_index: int, level: Level, window: Window) -> list[Tile]:
    """The tiles of the 0-based sample `band_index` that hold pixels of `window`, row by row.

    Raises `Unreadable`: `overview` where the tables of the level were left in the file, `band-index`.
    """
    if not level.stored:
        raise Unreadable("the tile table of this overview was left in the file", reason="overview", remedy="read the header of the file")
    return level_tiles(level, header.band_tiles(band_index, level), window)


def level_tiles(level: Level, tables: tuple[NDArray[np.int64], NDArray[np.int64]], window: Window) -> list[Tile]:
    """The tiles that hold pixels of `window`, row by row. `tables`: offsets and byte counts of one sample of the level."""
    window = window.clipped(whole(level))
    if window.empty:
        return []
    offsets, counts = tables
    wide, high, across = level.tile_width, level.tile_height, level.tiles_across
    cols = range(window.col // wide, -(-(window.col + window.width) // wide))
    found: list[Tile] = []
    for row in range(window.row // high, -(-(window.row + window.height) // high)):
        line, height = slice(row * across + cols.start, row * across + cols.stop), min(high, level.height - row * high)
        for col, offset, count in zip(cols, offsets[line].tolist(), counts[line].tolist(), strict=True):
            part = Window(col=col * wide, row=row * high, width=min(wide, level.width - col * wide), height=height)
            found.append(Tile(row=row, col=col, offset=offset, byte_count=count, window=part))
    return found


def spans_of(tiles: Iterable[P]) -> list[Span[P]]:
    """The ranges to fetch for `tiles`, in the order of the file; sparse tiles need none."""
    spans: list[Span[P]] = []
    group: list[P] = []
    end = 0
    for tile in sorted((tile for tile in tiles if tile.byte_count), key=lambda tile: tile.offset):
        stop = tile.offset + tile.byte_count
        if group and (tile.offset - end > GAP or max(stop, end) - group[0].offset > CAP):
            spans.append(Span(start=group[0].offset, end=end, tiles=tuple(group)))
            group, end = [], 0
        group.append(tile)
        end = max(end, stop)
    if group:
        spans.append(Span(start=group[0].offset, end=end, tiles=tuple(group)))
    return spans
