"""Files on one grid: which window of which level is read, and how it comes onto the grid."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from rasterloom.access.pixels.engine import Answer, Engine
from rasterloom.access.pixels.values import BandFile, WindowRead
from rasterloom.access.pixels.warp import REACH, Resampling, nothing, offset_of, to_pixel, transformer, warped
from rasterloom.errors import RasterloomError, SpecError, Unreadable
from rasterloom.raster.decode import numpy_dtype
from rasterloom.raster.grid import Grid
from rasterloom.raster.tiles import Window, level_affine, whole, window_affine

LONLAT = "OGC:CRS84"
_STEP = 0.01
"""Degrees: an edge of an area is straight in longitude and latitude, so it is bent at every such step (2 cm off at most)."""
_LATTICE = 33
"""Points along each side of a grid at which its place in a file is asked."""
_SPARE = 2
"""Pixels more than the kernel needs, for what lies between the points of the lattice."""


def on_grid(engine: Engine, files: Sequence[BandFile], grid: Grid, *, resampling: Resampling = "nearest") -> Iterator[Answer]:
    """The pixels of each file on `grid`, shape (grid.height, grid.width), in the order in which they are done.

    The file's dtype is kept. A file that is aligned with the grid is copied bit for bit; of others the coarsest overview that is at
    least as fine as the grid is warped. `valid` is False where the file has nothing; a file beside the grid answers that it has
    none, and one that cannot be placed with its error.
    """
    reads: list[WindowRead] = []
    places: list[int] = []
    for index, file in enumerate(files):
        try:
            read = read_for(file, grid, resampling)
        except RasterloomError as error:
            yield Answer(index=index, read=error)
            continue
        if read is None:
            yield Answer(index=index, read=nothing(numpy_dtype(file.header), grid))
            continue
        reads.append(read)
        places.append(index)
    for answer in engine.read(reads):
        yield _placed(answer, reads[answer.index], places[answer.index], grid, resampling)


def read_for(file: BandFile, grid: Grid, resampling: Resampling) -> WindowRead | None:
    """What of the file is needed for `grid`; None where it has no pixel there. Raises `Unreadable` (`transform`, `crs`)."""
    if file.header.transform is None:
        raise Unreadable(f"{file.scene} {file.band} has no georeference", reason="transform", remedy="leave the scene out with where()")
    cols, rows, ratio = _seen(file, grid)
    if not len(cols):
        return None
    level = level_for(file, ratio)
    image = (file.header.full, *file.header.overviews)[level]
    across, down = image.width / file.header.full.width, image.height / file.header.full.height
    margin = 0 if level == 0 and offset_of(_grid_of_level(file, 0), grid) else REACH[resampling] * max(1.0, ratio * across) + _SPARE
    left, right = math.floor(cols.min() * across - margin), math.ceil(cols.max() * across + margin)
    top, bottom = math.floor(rows.min() * down - margin), math.ceil(rows.max() * down + margin)
    window = Window(col=left, row=top, width=right - left, height=bottom - top).clipped(whole(image))
    return None if window.empty else WindowRead(file=file, window=window, level=level)


def level_for(file: BandFile, ratio: float) -> int:
    """The coarsest level whose pixels are no larger than `ratio` pixels of the full resolution."""
    full = file.header.full
    return max(
        (index + 1 for index, level in enumerate(file.header.overviews) if full.width / level.width <= ratio * (1 + 1e-3)), default=0
    )


def grid_of(area: Sequence[BaseGeometry], *, crs: str, resolution: float | tuple[float, float]) -> Grid:
    """The smallest grid of `crs` that covers `area` (lon/lat) and whose edges are multiples of the resolution, north up.

    `resolution` is the size of a pixel, or (width, height), in the units of `crs`. Raises SpecError.
    """
    wide, high = resolution if isinstance(resolution, tuple) else (resolution, resolution)
    if not (wide > 0 and high > 0 and math.isfinite(wide) and math.isfinite(high)):
        raise SpecError(f"resolution {resolution} is not above 0", remedy=f"give the size of a pixel in units of {crs[:40]}")
    left, bottom, right, top = projected(shapely.union_all(list(area)), crs).bounds
    if not all(map(math.isfinite, (left, bottom, right, top))):
        raise SpecError(f"the area has no place in {crs[:60]}", remedy="ask for a CRS that covers it")
    col, row = math.floor(_snapped(left / wide)), math.ceil(_snapped(top / high))
    width, height = math.ceil(_snapped(right / wide)) - col, row - math.floor(_snapped(bottom / high))
    return Grid(crs=crs, affine=(wide, 0.0, col * wide, 0.0, -high, row * high), width=max(width, 1), height=max(height, 1))


def common_crs(files: Sequence[BandFile]) -> str:
    """The CRS that most files have; of several the one that comes first."""
    if not files:
        raise SpecError("there is no file to take a CRS from", remedy="see collection.bounds, and the dates of the view")
    return Counter(file.crs for file in files).most_common(1)[0][0]


def projected(shape: BaseGeometry, crs: str) -> BaseGeometry:
    """A lon/lat shape in `crs`, its edges bent as straight lines of longitude and latitude are."""
    bent = shapely.segmentize(shape, _STEP)
    coordinates = shapely.get_coordinates(bent)
    x, y = transformer(LONLAT, crs).transform(coordinates[:, 0], coordinates[:, 1])
    return shapely.set_coordinates(bent, np.column_stack([x, y]))


def _placed(answer: Answer, read: WindowRead, index: int, grid: Grid, resampling: Resampling) -> Answer:
    if isinstance(answer.read, RasterloomError):
        return Answer(index=index, read=answer.read)
    try:
        return Answer(index=index, read=warped(answer.read, grid_of_read(read), grid, resampling))
    except RasterloomError as error:
        return Answer(index=index, read=error)


def grid_of_read(read: WindowRead) -> Grid:
    """Where the pixels of a window lie."""
    level = _grid_of_level(read.file, read.level)
    affine = window_affine(level.affine, read.window)
    return Grid(crs=level.crs, affine=affine, width=read.window.width, height=read.window.height)


def _grid_of_level(file: BandFile, number: int) -> Grid:
    level = (file.header.full, *file.header.overviews)[number]
    return Grid(crs=file.crs, affine=level_affine(file.header, level), width=level.width, height=level.height)


def _seen(file: BandFile, grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Columns and rows of the full resolution at a lattice of points of the grid, and how many of its pixels one of the grid is long."""
    cols, rows = np.meshgrid(np.linspace(0, grid.width, _LATTICE), np.linspace(0, grid.height, _LATTICE))
    here_cols, here_rows = _in_file(file, grid, cols, rows)
    next_cols, next_rows = _in_file(file, grid, cols + 1, rows)
    down_cols, down_rows = _in_file(file, grid, cols, rows + 1)
    steps = np.minimum(np.hypot(next_cols - here_cols, next_rows - here_rows), np.hypot(down_cols - here_cols, down_rows - here_rows))
    there = np.isfinite(here_cols) & np.isfinite(here_rows)
    steps = steps[there & np.isfinite(steps)]
    return here_cols[there], here_rows[there], float(np.min(steps)) if len(steps) else 1.0


def _in_file(file: BandFile, grid: Grid, cols: NDArray[Any], rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    a, b, c, d, e, f = grid.affine
    x, y = transformer(grid.crs, file.crs).transform(a * cols + b * rows + c, d * cols + e * rows + f)
    return to_pixel(file.header.transform or grid.affine, np.asarray(x), np.asarray(y))


def _snapped(value: float) -> float:
    """Numbers within 1e-6 of a multiple are taken as it, so that noise adds no row of pixels."""
    nearest = round(value)
    return nearest if abs(value - nearest) < 1e-6 else value
