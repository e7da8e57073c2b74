"""Values at points: scenes found by an index, points grouped by tile, each tile of a file read once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from rasterloom.access.pixels.boxes import boxes_around, shapes_of_boxes
from rasterloom.access.pixels.engine import Engine
from rasterloom.access.pixels.files import band_file
from rasterloom.access.pixels.moves import moved
from rasterloom.access.pixels.systems import is_geographic
from rasterloom.access.pixels.values import BandFile, Pixels, WindowRead
from rasterloom.access.pixels.vectors import Points
from rasterloom.errors import RasterloomError, Unreadable
from rasterloom.raster.decode import numpy_dtype
from rasterloom.raster.tiles import Window

Indices = NDArray[np.int64]
"""0-based places of points in `Points`, ascending."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """One band of one scene at the points that lie in its raster."""

    file: BandFile
    points: Indices
    values: NDArray[Any]
    """In the dtype of the file; any number where not `valid`."""
    valid: NDArray[np.bool_]
    """True = valid: neither nodata nor masked."""


@dataclass(slots=True, kw_only=True, eq=False)
class Hit:
    """A file and the points in it, while its tiles are read."""

    sample: Sample
    missing: int
    """Tiles that have not come."""
    failed: RasterloomError | None = None
    """Of the last tile that could not be read: the sample is then of no use."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tile:
    """The points in one tile of a file."""

    hit: Hit
    places: NDArray[np.int64]
    """Where their values go in the sample."""
    cols: NDArray[np.int64]
    """In pixels of the window that is read."""
    rows: NDArray[np.int64]
    read: WindowRead


class PointIndex:
    """Which points lie in the boxes of scenes, and where they lie in the systems of rasters. Made once for all scenes."""

    def __init__(self, points: Points) -> None:
        self._points = points
        lon, lat = moved(points.x, points.y, points.crs, None)
        self._lon, self._lat = np.where(np.abs(lon) > 180, (lon + 180) % 360 - 180, lon), lat
        shapes: Any = shapely.points(np.column_stack([self._lon, self._lat]))
        self._tree = shapely.STRtree(shapes)
        self._moved: dict[str, tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]] = {}

    def boxes(self) -> list[tuple[float, float, float, float]]:
        """A few boxes (west, south, east, north) in degrees with all points in them, for a filter of scenes; none without points."""
        there = np.isfinite(self._lon) & np.isfinite(self._lat)
        return boxes_around(self._lon[there], self._lat[there])

    def in_boxes(self, boxes: Sequence[Mapping[str, float] | None]) -> list[Indices]:
        """Points in each box (`xmin`, ...; xmin > xmax crosses the antimeridian), a little widened; all points for None."""
        found = [[np.arange(len(self._points))] if box is None else [] for box in boxes]
        shapes, owners = shapes_of_boxes(boxes)
        if not shapes:
            return [parts[0] for parts in found]
        box_at, point_at = self._tree.query(shapes, predicate="intersects")
        order = np.lexsort((point_at, box_at))
        cuts = np.searchsorted(box_at[order], np.arange(1, len(shapes)))
        for owner, part in zip(owners, np.split(point_at[order], cuts), strict=True):
            found[owner].append(part)
        return [np.unique(np.concatenate(parts)) if len(parts) > 1 else parts[0] for parts in found]

    def coordinates(self, crs: str, at: Indices) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of the points `at`, in `crs`; each is computed once per system."""
        if crs not in self._moved:
            size = len(self._points)
            self._moved[crs] = np.full(size, np.nan), np.full(size, np.nan), np.zeros(size, bool)
        x, y, known = self._moved[crs]
        new = at[~known[at]]
        if len(new):
            x[new], y[new] = moved(self._points.x[new], self._points.y[new], self._points.crs, crs)
            known[new] = True
        return x[at], y[at]


def samples(engine: Engine, rows: Iterable[pa.RecordBatch | pa.Table], bands: Sequence[str], index: PointIndex) -> Iterator[Sample]:
    """A sample for each band of each scene with points in it, in the order of `rows` and `bands`; raises the first error of a file.

    `rows` hold `pixel_columns` and `bbox`. A tile is read once, whatever lies in it. Held in memory are samples, and the tiles under way.
    """
    return _sound(read_hits(engine, (hit for batch in rows for hit in _hits(batch, bands, index))))


def newest_samples(engine: Engine, rows: pa.Table, bands: Sequence[str], index: PointIndex, size: int) -> Iterator[Sample]:
    """As `samples`, of the newest scene that has a pixel for each of `size` points, band by band."""
    order = rows.sort_by([("datetime", "descending"), ("id", "ascending")])
    open_points = {band: np.ones(size, bool) for band in bands}
    return _sound(read_hits(engine, _hits(order, bands, index, open_points=open_points)))


def _sound(hits: Iterator[Hit]) -> Iterator[Sample]:
    for hit in hits:
        if hit.failed is not None:
            raise hit.failed
        yield hit.sample


def _hits(
    batch: pa.RecordBatch | pa.Table, bands: Sequence[str], index: PointIndex, *, open_points: dict[str, NDArray[np.bool_]] | None = None
) -> Iterator[tuple[Hit, Sequence[Tile]]]:
    found = index.in_boxes(batch.column("bbox").to_pylist())
    for number, candidates in enumerate(found):
        if len(candidates) == 0:
            continue
        row = batch.slice(number, 1).to_pylist()[0]
        for band in bands:
            wanted = candidates if open_points is None else candidates[open_points[band][candidates]]
            hit, tiles = located(band_file(row, band), wanted, index)
            if tiles:
                if open_points is not None:
                    open_points[band][hit.sample.points] = False
                yield hit, tiles


def located(file: BandFile, candidates: Indices, index: PointIndex) -> tuple[Hit, Sequence[Tile]]:
    """The points that lie in a pixel of the file, by tile.

    A pixel holds its upper and left edge and not its lower and right one (of the grid as it is stored): `rasterio.sample` takes the same.
    Raises Unreadable for a file without a georeference, or of complex numbers.
    """
    level = file.header.full
    col, row = _pixels_at(file, *index.coordinates(file.crs, candidates))
    inside = (col >= 0) & (row >= 0) & (col < level.width) & (row < level.height)
    points, cols, rows = candidates[inside], col[inside].astype(np.int64), row[inside].astype(np.int64)
    dtype = numpy_dtype(file.header)
    if dtype.kind == "c":
        raise Unreadable(f"{file.scene} {file.band} holds complex numbers", reason="dtype", remedy="leave the band out")
    sample = Sample(file=file, points=points, values=np.zeros(len(points), dtype), valid=np.zeros(len(points), bool))
    numbers = rows // level.tile_height * level.tiles_across + cols // level.tile_width
    order = np.argsort(numbers, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1) if len(order) else []
    hit = Hit(sample=sample, missing=len(groups))
    return hit, [_tile(hit, group, cols[group], rows[group]) for group in groups]


def _pixels_at(file: BandFile, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Column and row of the pixels, floored; NaN or infinite where there is none."""
    if file.header.transform is None:
        raise Unreadable(f"{file.scene} {file.band} has no georeference", reason="transform", remedy="leave the scene out with where()")
    a, b, c, d, e, f = file.header.transform
    inverse = 1.0 / (a * e - b * d)
    ra, rb, rd, re = e * inverse, -b * inverse, -d * inverse, a * inverse
    rc, rf = -c * ra - f * rb, -c * rd - f * re

    def pixels(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        with np.errstate(invalid="ignore"):
            return np.floor(x * ra + y * rb + rc), np.floor(x * rd + y * re + rf)

    col, row = pixels(x)
    for turn in (360.0, -360.0) if is_geographic(file.crs) else ():
        # a raster may count longitudes beyond 180 degrees, or from 0 to 360
        beside = ~((col >= 0) & (col < file.header.full.width))
        other_col, other_row = pixels(x + turn)
        col, row = np.where(beside, other_col, col), np.where(beside, other_row, row)
    return col, row


def _tile(hit: Hit, places: NDArray[np.int64], cols: NDArray[np.int64], rows: NDArray[np.int64]) -> Tile:
    """Of the tile, the window around its points: it is decoded whole, but no more of it need be copied."""
    left, top = int(cols.min()), int(rows.min())
    window = Window(col=left, row=top, width=int(cols.max()) - left + 1, height=int(rows.max()) - top + 1)
    return Tile(hit=hit, places=places, cols=cols - left, rows=rows - top, read=WindowRead(file=hit.sample.file, window=window))


@dataclass(slots=True)
class _Plan:
    """Hands reads to the engine one by one, and remembers whose they are."""

    source: Iterator[tuple[Hit, Sequence[Tile]]]
    tiles: dict[int, Tile] = field(default_factory=dict[int, Tile])
    """By the index of the read, until it is answered."""
    hits: deque[Hit] = field(default_factory=deque[Hit])
    """In the order of the rows, until they are given out."""

    def reads(self) -> Iterator[WindowRead]:
        number = 0
        for hit, tiles in self.source:
            self.hits.append(hit)
            for tile in tiles:
                self.tiles[number] = tile
                number += 1
                yield tile.read

    def done(self) -> Iterator[Hit]:
        """What is complete, in order."""
        while self.hits and self.hits[0].missing == 0:
            yield self.hits.popleft()


def read_hits(engine: Engine, source: Iterable[tuple[Hit, Sequence[Tile]]]) -> Iterator[Hit]:
    """Each hit when all of its tiles have come, in the order of `source`, which is drawn from no faster than files are read."""
    plan = _Plan(iter(source))
    for answer in engine.read(plan.reads()):
        tile = plan.tiles.pop(answer.index)
        tile.hit.missing -= 1
        if isinstance(answer.read, Pixels):
            _take(tile, answer.read)
        else:
            tile.hit.failed = answer.read
        yield from plan.done()


def _take(tile: Tile, pixels: Pixels) -> None:
    sample = tile.hit.sample
    sample.values[tile.places] = pixels.data[tile.rows, tile.cols]
    sample.valid[tile.places] = pixels.valid[tile.rows, tile.cols]
