"""Files on one grid: which window of which level is read, and how it comes onto the grid."""

from __future__ import annotations

import math
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from rasterloom.access.pixels.engine import Answer, Engine
from rasterloom.access.pixels.systems import same_crs, seen_from, transformer
from rasterloom.access.pixels.values import BandFile, Pixels, WindowRead
from rasterloom.access.pixels.warp import PICKING, REACH, Resampling, nothing, offset_of, warped
from rasterloom.errors import RasterloomError, SpecError, Unreadable
from rasterloom.raster.decode import numpy_dtype
from rasterloom.raster.grid import Grid
from rasterloom.raster.header import Affine
from rasterloom.raster.overviews import level_for, level_of
from rasterloom.raster.tiles import Window, level_affine, whole, window_affine

LONLAT = "OGC:CRS84"
_STEP = 0.25
"""Degrees: edges of an area that are longer are cut into such parts before they are projected, because they are straight in longitude
and latitude and not in the CRS. Shorter ones stay straight, as `rasterio.warp.transform_geom` and GeoPandas leave them."""
_LATTICE = 33
"""Points along each side of a grid at which its place in a file is asked."""
_FINE_LATTICE = 257
"""The same where some points have no place there."""
_STRIDE = 4
"""At every so many of them also how large a pixel is."""
_FEW = 2
"""Files that are warped in the thread that asks: to start others takes as long."""
_WIDEST = 8
"""Threads that warp."""
_SPARE = 2
"""Pixels more than the kernel needs, for what lies between the points of the lattice."""


def on_grid(
    engine: Engine, files: Sequence[BandFile], grid: Grid, *, resampling: Resampling | Sequence[Resampling] = "nearest"
) -> Iterator[Answer]:
    """The pixels of each file on `grid`, shape (grid.height, grid.width), in the order in which they are done.

    `resampling` is one for all, or one per file. The file's dtype is kept. A file that is aligned with the grid is copied bit for
    bit; of others the coarsest overview that is at least as fine as the grid is warped. `valid` is False where the file has nothing;
    a file beside the grid answers that it has none, and one that cannot be placed with its error.
    """
    kernels = _per_file(resampling, len(files))
    beside: list[tuple[int, RasterloomError | None]] = []
    asked: list[tuple[int, WindowRead]] = []

    def reads() -> Iterator[WindowRead]:
        for index, file in enumerate(files):
            try:
                read = read_for(file, grid, kernels[index])
            except RasterloomError as error:
                beside.append((index, error))
                continue
            if read is None:
                beside.append((index, None))
                continue
            asked.append((index, read))
            yield read

    def unread() -> Iterator[Answer]:
        while beside:
            index, error = beside.pop()
            yield Answer(index=index, read=error or nothing(numpy_dtype(files[index].header), grid))

    def warps() -> Iterator[Callable[[], Answer]]:
        for answer in engine.read(reads()):
            index, read = asked[answer.index]
            yield partial(_placed, answer, read, index, grid, kernels[index])

    for answer in side_by_side(warps()) if len(files) > _FEW else (warp() for warp in warps()):
        yield from unread()
        yield answer
    yield from unread()


def side_by_side(tasks: Iterable[Callable[[], Answer]]) -> Iterator[Answer]:
    """Answers in the order of the tasks, which run on as many threads as there are cores, twice as many ahead."""
    width = min(os.cpu_count() or 1, _WIDEST)
    waiting: deque[Future[Answer]] = deque()
    with ThreadPoolExecutor(width, thread_name_prefix="pixels-warp") as pool:
        for task in tasks:
            waiting.append(pool.submit(task))
            if len(waiting) > 2 * width:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def read_for(file: BandFile, grid: Grid, resampling: Resampling) -> WindowRead | None:
    """What of the file is needed for `grid`; None where it has no pixel there. Raises `Unreadable` (`transform`, `crs`)."""
    header = file.header
    if header.transform is None:
        raise Unreadable(f"{file.scene} {file.band} has no georeference", reason="transform", remedy="leave the scene out with where()")
    seen = _seen(file.crs, header.transform, grid)
    if seen is None:
        return None
    number = level_for(header, seen.ratio)
    level = level_of(header, number)
    across, down = level.width / header.full.width, level.height / header.full.height
    margin = 0 if offset_of(_grid_of_level(file, number), grid) else REACH[resampling] * max(1.0, seen.ratio * across) + _SPARE
    left, right = math.floor(seen.left * across - margin), math.ceil(seen.right * across + margin)
    top, bottom = math.floor(seen.top * down - margin), math.ceil(seen.bottom * down + margin)
    window = Window(col=left, row=top, width=right - left, height=bottom - top).clipped(whole(level))
    return None if window.empty else WindowRead(file=file, window=window, level=number)


def grid_of(
    area: Sequence[BaseGeometry], *, crs: str, resolution: float | tuple[float, float], anchor: tuple[float, float] = (0.0, 0.0)
) -> Grid:
    """The smallest grid of `crs` that covers `area` (lon/lat), north up, with a corner of pixels at `anchor`.

    By default its edges are multiples of the resolution: the size of a pixel, or (width, height), in the units of `crs`.
    Raises SpecError.
    """
    wide, high = resolution if isinstance(resolution, tuple) else (resolution, resolution)
    if not (wide > 0 and high > 0 and math.isfinite(wide) and math.isfinite(high)):
        raise SpecError(f"resolution {resolution} is not above 0", remedy=f"give the size of a pixel in units of {crs[:40]}")
    left, bottom, right, top = projected(shapely.union_all(list(area)), crs).bounds
    if not all(map(math.isfinite, (left, bottom, right, top))):
        raise SpecError(f"the area has no place in {crs[:60]}", remedy="ask for a CRS that covers it")
    x, y = anchor
    col, row = math.floor(_snapped((left - x) / wide)), math.ceil(_snapped((top - y) / high))
    width, height = math.ceil(_snapped((right - x) / wide)) - col, row - math.floor(_snapped((bottom - y) / high))
    return Grid(crs=crs, affine=(wide, 0.0, x + col * wide, 0.0, -high, y + row * high), width=max(width, 1), height=max(height, 1))


def common_crs(files: Sequence[BandFile]) -> str:
    """The CRS that most files have; of several the one that comes first."""
    if not files:
        raise SpecError("there is no file to take a CRS from", remedy="see collection.bounds, and the dates of the view")
    return Counter(file.crs for file in files).most_common(1)[0][0]


def projected(shape: BaseGeometry, crs: str) -> BaseGeometry:
    """A lon/lat shape in `crs`, its long edges bent as straight lines of longitude and latitude are."""
    bent = shapely.segmentize(shape, _STEP)
    coordinates = shapely.get_coordinates(bent)
    x, y = transformer(LONLAT, crs).transform(coordinates[:, 0], coordinates[:, 1])
    return shapely.set_coordinates(bent, np.column_stack([x, y]))


def _per_file(resampling: Resampling | Sequence[Resampling], count: int) -> Sequence[Resampling]:
    if not isinstance(resampling, str):
        return resampling
    one: Resampling = resampling
    return [one for _ in range(count)]


def _placed(answer: Answer, read: WindowRead, index: int, grid: Grid, resampling: Resampling) -> Answer:
    if isinstance(answer.read, RasterloomError):
        return Answer(index=index, read=answer.read)
    try:
        return Answer(index=index, read=_apart(warped(answer.read, grid_of_read(read), grid, resampling), read.file, resampling))
    except RasterloomError as error:
        return Answer(index=index, read=error)


def _apart(pixels: Pixels, file: BandFile, resampling: Resampling) -> Pixels:
    """No integer that a kernel made is nodata by chance: it moves by one, as GDAL has it."""
    nodata, kind = file.header.nodata, pixels.data.dtype
    if resampling in PICKING or nodata is None or kind.kind not in "iu":
        return pixels
    clash = pixels.valid & (pixels.data == nodata)
    if not clash.any():
        return pixels
    data = np.where(clash, nodata - 1 if nodata == np.iinfo(kind).max else nodata + 1, pixels.data).astype(kind)
    return Pixels(data=data, valid=pixels.valid)


def grid_of_read(read: WindowRead) -> Grid:
    """Where the pixels of a window lie."""
    level = _grid_of_level(read.file, read.level)
    affine = window_affine(level.affine, read.window)
    return Grid(crs=level.crs, affine=affine, width=read.window.width, height=read.window.height)


def _grid_of_level(file: BandFile, number: int) -> Grid:
    level = level_of(file.header, number)
    return Grid(crs=file.crs, affine=level_affine(file.header, level), width=level.width, height=level.height)


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """A grid as the full resolution of a file sees it, in columns and rows."""

    left: float
    top: float
    right: float
    bottom: float
    ratio: float
    """How many pixels of the file one of the grid is long, where it is shortest."""
    is_whole: bool
    """Whether all points of the grid have a place there. Where the edge of what a CRS reaches lies in the grid, places run away."""


@lru_cache(maxsize=4096)
def _seen(crs: str, affine: Affine, grid: Grid) -> _View | None:
    """By a lattice of points of the grid; None where the CRS does not reach it."""
    view = _lattice_view(crs, affine, grid, 2 if same_crs(crs, grid.crs) else _LATTICE)
    return view if view is not None and view.is_whole else _lattice_view(crs, affine, grid, _FINE_LATTICE)


def _lattice_view(crs: str, affine: Affine, grid: Grid, points: int) -> _View | None:
    cols, rows = np.meshgrid(np.linspace(0, grid.width, points), np.linspace(0, grid.height, points))
    x, y = (np.where(np.isfinite(places), places, np.nan) for places in seen_from(crs, affine, grid, cols, rows))
    few = (slice(None, None, _STRIDE), slice(None, None, _STRIDE))
    across, along = seen_from(crs, affine, grid, cols[few] + 1, rows[few]), seen_from(crs, affine, grid, cols[few], rows[few] + 1)
    steps = np.minimum(np.hypot(across[0] - x[few], across[1] - y[few]), np.hypot(along[0] - x[few], along[1] - y[few]))
    there = np.isfinite(x) & np.isfinite(y)
    if not there.any():
        return None
    spare = (0.0, 0.0) if there.all() else (_stride(x), _stride(y))
    return _View(
        left=float(np.nanmin(x)) - spare[0],
        top=float(np.nanmin(y)) - spare[1],
        right=float(np.nanmax(x)) + spare[0],
        bottom=float(np.nanmax(y)) + spare[1],
        ratio=float(np.min(steps[np.isfinite(steps)], initial=np.inf)) if np.isfinite(steps).any() else 1.0,
        is_whole=bool(there.all()),
    )


def _stride(places: NDArray[np.float64]) -> float:
    """How far apart two neighbours of a lattice are at most."""
    return max(float(np.max(step[np.isfinite(step)], initial=0.0)) for step in (np.abs(np.diff(places, axis=axis)) for axis in (0, 1)))


def _snapped(value: float) -> float:
    """Numbers within 1e-6 of a multiple are taken as it, so that noise adds no row of pixels."""
    nearest = round(value)
    return nearest if abs(value - nearest) < 1e-6 else value
