"""Which pixels of a raster belong to which zone, block by block; remembered, because most scenes of a collection share a few grids."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from rasterloom.access.pixels.boxes import Box, boxes_over, shapes_of_boxes
from rasterloom.access.pixels.gridded import LONLAT
from rasterloom.access.pixels.moves import moved
from rasterloom.access.pixels.systems import known_crs, same_crs, transformer
from rasterloom.access.pixels.values import BandFile
from rasterloom.access.pixels.vectors import Zones
from rasterloom.access.views import geometries_of
from rasterloom.errors import Unreadable
from rasterloom.raster.grid import Grid
from rasterloom.raster.header import Affine
from rasterloom.raster.rasterize import inside
from rasterloom.raster.tiles import Bounds, Window, window_affine, window_around

_HELD = 256 << 20
"""Bytes of patches that are remembered."""
_DEGREES, _METRES = 0.01, 1000.0
"""An edge is straight in the system of its zone, so it is bent at every such step where it moves to another."""
_WIDER = 0.01
"""Share of its size by which the box of a raster is widened: its edges bend between its corners."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The pixels and blocks of a raster: two files of one ground have the same patches."""

    crs: str
    affine: Affine
    width: int
    height: int
    tile_width: int
    tile_height: int

    def grid(self, window: Window) -> Grid:
        """A part of it."""
        return Grid(crs=self.crs, affine=window_affine(self.affine, window), width=window.width, height=window.height)

    @property
    def window(self) -> Window:
        return Window(col=0, row=0, width=self.width, height=self.height)


def ground_of(file: BandFile) -> Ground:
    """Raises `Unreadable` (`transform`) for a file without a georeference."""
    level, affine = file.header.full, file.header.transform
    if affine is None:
        raise Unreadable(f"{file.scene} {file.band} has no georeference", reason="transform", remedy="leave the scene out with filter")
    sizes = {"width": level.width, "height": level.height, "tile_width": level.tile_width, "tile_height": level.tile_height}
    return Ground(crs=file.crs, affine=affine, **sizes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One tile of a ground with zones in it."""

    window: Window
    """Around the zones in the tile."""
    zones: tuple[int, ...]
    """Ascending. A zone that meets the raster is in a block, even where it holds the centre of no pixel."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patch:
    """The pixels of zones in one block; arrays of shape (n,)."""

    zones: NDArray[np.int32]
    """Ascending; a pixel stands here once for each zone that has it."""
    pixels: NDArray[np.int32]
    """Place in the window of the block, row by row."""

    @property
    def nbytes(self) -> int:
        return self.zones.nbytes + self.pixels.nbytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Placed:
    """The zones that meet a ground."""

    shapes: Mapping[int, BaseGeometry]
    """In the system of the ground."""
    windows: Mapping[int, Window]
    """The pixels that the bounds touch."""
    blocks: tuple[Block, ...]
    """Row by row."""


class ZoneMap:
    """Zones on the grounds of rasters. Thread-safe."""

    def __init__(self, zones: Zones, *, all_touched: bool) -> None:
        self.zones = zones
        self._all_touched = all_touched
        self._degrees = [moved_shape(shape, zones.crs, LONLAT) for shape in zones.shapes]
        self._tree = shapely.STRtree(self._degrees)
        self._lock = threading.Lock()
        self._placed: dict[Ground, _Placed] = {}
        self._patches: OrderedDict[tuple[Ground, Block], Patch] = OrderedDict()
        self._held = 0

    def near(self, boxes: Sequence[BaseGeometry]) -> NDArray[np.int64]:
        """Numbers of the zones whose boxes meet any of some lon/lat boxes, ascending."""
        return np.unique(self._tree.query(list(boxes))[1]) if boxes else np.empty(0, np.int64)

    def boxes(self) -> list[Box]:
        """A few boxes with all zones in them, for a filter of scenes."""
        return boxes_over(shapely.bounds(self._degrees)) if self._degrees else []

    def counts(self, boxes: Sequence[Mapping[str, float] | None]) -> list[int]:
        """Zones in the box of each scene, by their boxes; all for None."""
        shapes, owners = shapes_of_boxes(boxes)
        found = self._tree.query(shapes)[0] if shapes else np.empty(0, np.int64)
        counted = np.bincount(np.array(owners, np.int64)[found], minlength=len(boxes))
        return [len(self.zones) if box is None else int(count) for box, count in zip(boxes, counted, strict=True)]

    def blocks(self, ground: Ground) -> tuple[Block, ...]:
        """Those with zones in them, row by row."""
        return self._on(ground).blocks

    def patch(self, ground: Ground, block: Block) -> Patch:
        """The pixels of the zones in a block: those whose centre is inside, or all that a zone touches."""
        key = (ground, block)
        with self._lock:
            if key in self._patches:
                self._patches.move_to_end(key)
                return self._patches[key]
        made = self._patch(ground, block)
        with self._lock:
            if key not in self._patches:
                self._patches[key] = made
                self._held += made.nbytes
            while self._held > _HELD and len(self._patches) > 1:
                self._held -= self._patches.popitem(last=False)[1].nbytes
        return made

    def _on(self, ground: Ground) -> _Placed:
        with self._lock:
            known = self._placed.get(ground)
        if known is None:
            known = self._place(ground)
            with self._lock:
                self._placed[ground] = known
        return known

    def _place(self, ground: Ground) -> _Placed:
        shapes: dict[int, BaseGeometry] = {}
        windows: dict[int, Window] = {}
        for zone in self.near(_boxes_of(ground)).tolist():
            given: Any = self.zones.shapes[zone]
            shape = moved_shape(given, self.zones.crs, ground.crs)
            left, bottom, right, top = shape.bounds
            if not np.isfinite([left, bottom, right, top]).all():
                continue
            window = window_around(ground.affine, Bounds(left=left, bottom=bottom, right=right, top=top))
            if not window.clipped(ground.window).empty:
                shapes[zone], windows[zone] = shape, self._wider(window).clipped(ground.window)
        return _Placed(shapes=shapes, windows=windows, blocks=_blocks_of(windows, ground))

    def _wider(self, window: Window) -> Window:
        """Of a pixel beside an edge that lies on its own, GDAL says that it is touched."""
        more = 1 if self._all_touched else 0
        return Window(col=window.col - more, row=window.row - more, width=window.width + 2 * more, height=window.height + 2 * more)

    def _patch(self, ground: Ground, block: Block) -> Patch:
        placed = self._on(ground)
        parts = [self._pixels(ground, block, placed.shapes[zone], placed.windows[zone].clipped(block.window)) for zone in block.zones]
        zones = np.repeat(np.array(block.zones, np.int32), [len(part) for part in parts])
        return Patch(zones=zones, pixels=np.concatenate(parts))

    def _pixels(self, ground: Ground, block: Block, shape: BaseGeometry, window: Window) -> NDArray[np.int32]:
        affine = window_affine(ground.affine, window)
        rows, cols = np.nonzero(inside(shape, affine, width=window.width, height=window.height, all_touched=self._all_touched))
        rows, cols = rows + (window.row - block.window.row), cols + (window.col - block.window.col)
        return (rows * block.window.width + cols).astype(np.int32)


def moved_shape(shape: BaseGeometry | None, source: str | None, target: str) -> BaseGeometry:
    """A zone in another system, its edges bent as straight lines of its own are there; empty for None."""
    if shape is None:
        return shapely.Polygon()
    crs = source or LONLAT
    if same_crs(crs, target):
        return shape
    bent = shapely.segmentize(shape, _DEGREES if known_crs(crs).is_geographic else _METRES)
    coordinates = shapely.get_coordinates(bent)
    x, y = moved(coordinates[:, 0], coordinates[:, 1], source, target)
    return shapely.set_coordinates(bent, np.column_stack([x, y]))


def _boxes_of(ground: Ground) -> list[BaseGeometry]:
    """The lon/lat box of a raster, a little widened: two where it crosses the antimeridian, all the world where it has none."""
    bounds = ground.grid(ground.window).bounds
    box = transformer(ground.crs, LONLAT).transform_bounds(bounds.left, bounds.bottom, bounds.right, bounds.top, errcheck=False)
    if not np.isfinite(box).all():
        return [shapely.box(-180, -90, 180, 90)]
    west, south, east, north = box
    wide, high = _WIDER * ((east - west) % 360), _WIDER * (north - south)
    if east - west >= 360 or west < -180 or east > 180:
        return [shapely.box(-180, south - high, 180, north + high)]
    return [shapely.buffer(part, max(wide, high), join_style="mitre") for part in geometries_of((west, south, east, north))]


def _blocks_of(windows: Mapping[int, Window], ground: Ground) -> tuple[Block, ...]:
    found: dict[tuple[int, int], list[int]] = {}
    for zone, window in windows.items():
        for place in _tiles_under(window, ground):
            found.setdefault(place, []).append(zone)
    blocks: list[Block] = []
    for row, col in sorted(found):
        zones = found[row, col]
        tile = Window(col=col * ground.tile_width, row=row * ground.tile_height, width=ground.tile_width, height=ground.tile_height)
        blocks.append(Block(window=_around([windows[zone].clipped(tile) for zone in zones]), zones=tuple(sorted(zones))))
    return tuple(blocks)


def _tiles_under(window: Window, ground: Ground) -> Iterable[tuple[int, int]]:
    """Row and column of each tile."""
    for row in range(window.row // ground.tile_height, -(-(window.row + window.height) // ground.tile_height)):
        for col in range(window.col // ground.tile_width, -(-(window.col + window.width) // ground.tile_width)):
            yield row, col


def _around(windows: Sequence[Window]) -> Window:
    col, row = min(window.col for window in windows), min(window.row for window in windows)
    right, bottom = max(window.col + window.width for window in windows), max(window.row + window.height for window in windows)
    return Window(col=col, row=row, width=right - col, height=bottom - row)
