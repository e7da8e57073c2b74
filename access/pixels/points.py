"""Values at points: scenes found by an index, points grouped by tile, each tile of a file read once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from rasterloom.access.pixels.boxes import boxes_around, shapes_of_boxes
from rasterloom.access.pixels.engine import Engine
from rasterloom.access.pixels.files import band_file
from rasterloom.access.pixels.moves import moved
from rasterloom.access.pixels.stacks import check_classes
from rasterloom.access.pixels.systems import is_geographic
from rasterloom.access.pixels.values import BandFile, Pixels, WindowRead
from rasterloom.access.pixels.vectors import Points
from rasterloom.errors import RasterloomError, Unreadable
from rasterloom.raster.decode import numpy_dtype
from rasterloom.raster.header import Level
from rasterloom.raster.tiles import Window

PointResampling = Literal["nearest", "bilinear"]
"""The value of the pixel around a point, or the interpolation between the four pixels next to it."""
Indices = NDArray[np.int64]
"""0-based places of points in `Points`, ascending."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """One band of one scene at the points that lie in its raster."""

    file: BandFile
    points: Indices
    values: NDArray[Any]
    """In the dtype of the file, float64 of `bilinear`; any number where not `valid`."""
    valid: NDArray[np.bool_]
    """True = valid: neither nodata nor masked."""


@dataclass(slots=True, kw_only=True, eq=False)
class Hit:
    """A file and the points in it, while its tiles are read."""

    sample: Sample
    missing: int
    """Tiles that have not come."""
    values: NDArray[Any]
    """Of all taps of all points, shape (taps * points,), in the dtype of the file."""
    valid: NDArray[np.bool_]
    weights: NDArray[np.float64] | None
    """Of the taps, shape (taps, points), 0 beside the raster; None: one tap, which is the value."""
    failed: RasterloomError | None = None
    """Of the last tile that could not be read: the sample is then of no use."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tile:
    """The taps in one tile of a file."""

    hit: Hit
    places: NDArray[np.int64]
    """Where their values go in those of the hit."""
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


def samples(
    engine: Engine, rows: Iterable[pa.RecordBatch | pa.Table], bands: Mapping[str, PointResampling], index: PointIndex
) -> Iterator[Sample]:
    """A sample for each band of each scene with points in it, in the order of `rows` and `bands`; raises the first error of a file.

    `rows` hold `pixel_columns` and `bbox`. A tile is read once, whatever lies in it. Held in memory are samples, and the tiles under way.
    """
    return _sound(read_hits(engine, (hit for batch in rows for hit in _hits(batch, bands, index))))


def newest_samples(engine: Engine, rows: pa.Table, bands: Mapping[str, PointResampling], index: PointIndex, size: int) -> Iterator[Sample]:
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
    batch: pa.RecordBatch | pa.Table,
    bands: Mapping[str, PointResampling],
    index: PointIndex,
    *,
    open_points: dict[str, NDArray[np.bool_]] | None = None,
) -> Iterator[tuple[Hit, Sequence[Tile]]]:
    found = index.in_boxes(batch.column("bbox").to_pylist())
    for number, candidates in enumerate(found):
        if len(candidates) == 0:
            continue
        row = batch.slice(number, 1).to_pylist()[0]
        for band, resampling in bands.items():
            wanted = candidates if open_points is None else candidates[open_points[band][candidates]]
            hit, tiles = located(band_file(row, band), wanted, index, resampling)
            if tiles:
                if open_points is not None:
                    open_points[band][hit.sample.points] = False
                yield hit, tiles


def located(file: BandFile, candidates: Indices, index: PointIndex, resampling: PointResampling = "nearest") -> tuple[Hit, Sequence[Tile]]:
    """The points that lie in a pixel of the file, by tile; of `bilinear`, a point near the edge of a tile is in up to four.

    A pixel holds its upper and left edge and not its lower and right one (of the grid as it is stored): `rasterio.sample` takes the same.
    Raises Unreadable for a file without a georeference, or of complex numbers, SpecError where classes would be mixed.
    """
    level = file.header.full
    check_classes([file], [resampling])
    col, row = _pixels_at(file, *index.coordinates(file.crs, candidates))
    inside = (col >= 0) & (row >= 0) & (col < level.width) & (row < level.height)
    dtype = numpy_dtype(file.header)
    if dtype.kind == "c":
        raise Unreadable(f"{file.scene} {file.band} holds complex numbers", reason="dtype", remedy="leave the band out")
    taps = _around(col[inside], row[inside], level) if resampling == "bilinear" else _under(col[inside], row[inside])
    count = int(inside.sum())
    values = np.zeros(taps.cols.size, dtype)
    mixed = values if taps.weights is None else np.zeros(count)
    sample = Sample(file=file, points=candidates[inside], values=mixed, valid=np.zeros(count, bool))
    valid = sample.valid if taps.weights is None else np.zeros(taps.cols.size, bool)
    numbers = taps.rows // level.tile_height * level.tiles_across + taps.cols // level.tile_width
    order = np.argsort(numbers, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1) if len(order) else []
    hit = Hit(sample=sample, missing=len(groups), values=values, valid=valid, weights=taps.weights)
    return hit, [_tile(hit, group, taps.cols[group], taps.rows[group]) for group in groups]


@dataclass(frozen=True, slots=True, eq=False)
class _Taps:
    """The pixels that points are made of: those around all points first."""

    cols: NDArray[np.int64]
    """Shape (taps * points,)."""
    rows: NDArray[np.int64]
    weights: NDArray[np.float64] | None
    """Shape (taps, points)."""


def _under(col: NDArray[np.float64], row: NDArray[np.float64]) -> _Taps:
    return _Taps(col.astype(np.int64), row.astype(np.int64), None)


def _around(col: NDArray[np.float64], row: NDArray[np.float64], level: Level) -> _Taps:
    """The pixel around each point, and the next ones along columns, rows and both; the first one again where these have no weight."""
    near, far, share = zip(*(_axis(places, length) for places, length in ((col, level.width), (row, level.height))), strict=True)
    weights = np.stack([(1 - share[0]) * (1 - share[1]), share[0] * (1 - share[1]), (1 - share[0]) * share[1], share[0] * share[1]])
    cols = np.concatenate([near[0], far[0], near[0], far[0]])
    rows = np.concatenate([near[1], near[1], far[1], far[1]])
    return _Taps(cols, rows, weights)


def _axis(places: NDArray[np.float64], length: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """The pixels around places, the next nearest ones, and the share of these: 0 beyond the edge of the raster."""
    near = places.astype(np.int64)
    off = places - near - 0.5
    far = near + np.where(off < 0, -1, 1)
    share = np.where((off == 0) | (far < 0) | (far >= length), 0.0, np.abs(off))
    return near, np.where(share == 0, near, far), share


def _pixels_at(file: BandFile, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Columns and rows, 0.0 at the corner of the first pixel; NaN or infinite where there is none."""
    if file.header.transform is None:
        raise Unreadable(f"{file.scene} {file.band} has no georeference", reason="transform", remedy="leave the scene out with where()")
    a, b, c, d, e, f = file.header.transform
    inverse = 1.0 / (a * e - b * d)
    ra, rb, rd, re = e * inverse, -b * inverse, -d * inverse, a * inverse
    rc, rf = -c * ra - f * rb, -c * rd - f * re

    def pixels(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        with np.errstate(invalid="ignore"):
            return x * ra + y * rb + rc, x * rd + y * re + rf

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
            hit = self.hits.popleft()
            _mix(hit)
            yield hit


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
    tile.hit.values[tile.places] = pixels.data[tile.rows, tile.cols]
    tile.hit.valid[tile.places] = pixels.valid[tile.rows, tile.cols]


def _mix(hit: Hit) -> None:
    """The mean of the valid taps by their weights, valid where the pixel around the point is. Values that are not finite are none."""
    if hit.weights is None:
        return
    values, valid = hit.values.reshape(hit.weights.shape).astype(np.float64), hit.valid.reshape(hit.weights.shape)
    valid &= np.isfinite(values)
    weights = hit.weights * valid
    values[~valid] = 0
    np.divide((values * weights).sum(axis=0), weights.sum(axis=0), out=hit.sample.values, where=valid[0])
    hit.sample.valid[:] = valid[0]
