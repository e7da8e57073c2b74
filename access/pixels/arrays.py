"""Windows of each file's own grid, scene by scene: nothing is resampled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from rasterloom.access.pixels.engine import Engine
from rasterloom.access.pixels.gridded import grid_of_read, projected
from rasterloom.access.pixels.scenes import SceneFiles
from rasterloom.access.pixels.stacks import Layers, Wish, band_dtype, check_size, fill_of, filled, values_of
from rasterloom.access.pixels.values import BandFile, Pixels, WindowRead
from rasterloom.errors import SpecError, Unreadable
from rasterloom.raster.grid import Grid
from rasterloom.raster.rasterize import inside
from rasterloom.raster.tiles import Bounds, window_of_bounds

MISSES = "ask for a target_crs and a resolution, choose fewer scenes or bands, or use get_gdf"
SMALLER = "choose a smaller area, fewer scenes or bands, or a coarser resolution; get_xarray with chunks= reads block by block"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cut:
    """What an area covers of one file."""

    read: WindowRead
    grid: Grid
    """Of the window."""
    shape: BaseGeometry
    """The area in the CRS of the file."""

    def inside(self, *, all_touched: bool) -> NDArray[np.bool_]:
        """True inside of the area, shape (height, width)."""
        grid = self.grid
        return inside(self.shape, grid.affine, width=grid.width, height=grid.height, all_touched=all_touched)


def cut_of(file: BandFile, shape: BaseGeometry) -> Cut | None:
    """The window is the bounds of a shape in the CRS of the file, out to whole pixels; None where the file misses it.

    Raises `Unreadable` (`transform`).
    """
    header = file.header
    if header.transform is None:
        raise Unreadable(f"{file.scene} {file.band} has no georeference", reason="transform", remedy="leave the scene out with where()")
    west, south, east, north = shape.bounds
    if not np.isfinite([west, south, east, north]).all():
        return None
    window = window_of_bounds(header, header.full, Bounds(left=west, bottom=south, right=east, top=north))
    if window.empty:
        return None
    read = WindowRead(file=file, window=window)
    return Cut(read=read, grid=grid_of_read(read), shape=shape)


def native_stack(engine: Engine, scenes: Sequence[SceneFiles], area: BaseGeometry, wish: Wish) -> NDArray[Any]:
    """Shape (scenes, bands, height, width), a masked array where it is wished; scenes that miss the area are left out.

    Raises SpecError where scenes or bands differ in shape, and where nothing meets the area.
    """
    rows = [cuts for scene in scenes if (cuts := _cuts(scene, area)) is not None]
    if not rows:
        raise SpecError(
            f"no scene of the collection has pixels of {', '.join(wish.bands)} in the area",
            remedy="see collection.bounds, and the dates of the view",
        )
    flat = [cut for cuts in rows for cut in cuts]
    _check_shapes(flat)
    first = flat[0].grid
    files = [[cuts[band].read.file for cuts in rows] for band in range(len(wish.bands))]
    dtype = np.result_type(*(band_dtype(each, wish) for each in files))
    shape = (len(rows), len(wish.bands), first.height, first.width)
    check_size(shape, dtype.itemsize, remedy=SMALLER)
    layers = Layers(data=np.empty(shape, dtype), valid=np.empty(shape, bool))
    for index, pixels in _read(engine, flat):
        (scene, band), cut = divmod(index, len(wish.bands)), flat[index]
        layers.data[scene, band] = values_of(pixels, cut.read.file, wish)
        layers.valid[scene, band] = pixels.valid & cut.inside(all_touched=wish.all_touched)
    return finished(layers, files, wish)


def finished(layers: Layers, files: Sequence[Sequence[BandFile]], wish: Wish) -> NDArray[Any]:
    """Shape (steps, bands, height, width): NaN, nodata of the band, or 0 where nothing is valid; `files` are those of each band."""
    for band, each in enumerate(files):
        part = Layers(data=layers.data[:, band], valid=layers.valid[:, band])
        filled(part, None, fill_of(each, layers.data.dtype, wish) or 0)
    return np.ma.MaskedArray(layers.data, ~layers.valid) if wish.masked else layers.data


def _read(engine: Engine, cuts: Sequence[Cut]) -> Iterator[tuple[int, Pixels]]:
    for answer in engine.read([cut.read for cut in cuts]):
        yield answer.index, answer.pixels


def _cuts(scene: SceneFiles, area: BaseGeometry) -> list[Cut] | None:
    """One per band; None where none of them meets the area."""
    found = [cut_of(file, projected(area, file.crs)) for file in scene.files]
    there = [cut for cut in found if cut is not None]
    if there and len(there) < len(found):
        raise SpecError(f"the bands of {scene.id} cover different parts of the area", remedy=MISSES)
    return there or None


def _check_shapes(cuts: Iterable[Cut]) -> None:
    first, *others = cuts
    for other in others:
        if (other.grid.height, other.grid.width) != (first.grid.height, first.grid.width):
            one, two = first.read.file, other.read.file
            raise SpecError(
                f"the area has {first.grid.height} x {first.grid.width} pixels in {one.scene} {one.band} and "
                f"{other.grid.height} x {other.grid.width} in {two.scene} {two.band}: they differ in grid, CRS or edge",
                remedy=MISSES,
            )
