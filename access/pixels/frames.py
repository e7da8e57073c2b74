"""Pixels and footprints as tables of GeoPandas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from rasterloom.access.pixels.areas import Areas
from rasterloom.access.pixels.arrays import SMALLER, Cut, cut_of
from rasterloom.access.pixels.engine import Engine
from rasterloom.access.pixels.gridded import LONLAT, on_grid, projected, read_for
from rasterloom.access.pixels.scenes import SceneFiles
from rasterloom.access.pixels.stacks import (
    Layers,
    Wish,
    band_dtype,
    check_classes,
    check_size,
    fill_of,
    filled,
    grid_over,
    values_of,
    within,
)
from rasterloom.access.pixels.systems import same_crs, transformer
from rasterloom.access.pixels.values import BandFile, Pixels
from rasterloom.access.pixels.warp import Resampling
from rasterloom.errors import SpecError
from rasterloom.raster.gdal import load_gdal
from rasterloom.raster.grid import Grid
from rasterloom.raster.tiles import level_affine

if TYPE_CHECKING:
    import geopandas

COLUMNS = ("record_id", "datetime", "cloud_cover", "collection", "geometry_id", "geometry", "band", "data", "transform", "crs")
"""Those of Rasteret, and the CRS of `transform`."""
_BENDS = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Row:
    scene: int
    area: int
    band: int
    """0-based places."""
    file: SceneFiles
    grid: Grid
    """Of `data`."""
    data: NDArray[Any]


def frame_of(engine: Engine, scenes: Sequence[SceneFiles], areas: Areas, wish: Wish, source: str) -> geopandas.GeoDataFrame:
    """One row per scene, geometry and band that meet, in that order, with the columns of `areas`. Raises SpecError."""
    import geopandas  # noqa: PLC0415  # takes half a second with pandas, and a build needs none

    _check_names(areas.columns)
    make = _gridded if wish.is_gridded else _native
    rows = sorted(make(engine, scenes, areas, wish), key=lambda row: (row.scene, row.area, row.band))
    if not rows:
        raise SpecError("no scene of the collection has pixels in the area", remedy="see collection.bounds, and the dates of the view")
    shapes = [projected(shape, wish.crs) for shape in areas.shapes] if wish.crs else areas.given
    own = "EPSG:4326" if areas.crs == LONLAT else areas.crs  # GeoPandas takes the two for different ones when frames are joined
    geometry = geopandas.GeoSeries([shapes[row.area] for row in rows], crs=wish.crs or own)
    return geopandas.GeoDataFrame({**_columns(rows, areas, wish, source), **_own(rows, areas)}, geometry=geometry)


def footprints_frame(files: Sequence[BandFile], crs: str | None) -> geopandas.GeoDataFrame:
    """`id`, `datetime` and the outline of each file's pixels: in `crs`, else in the file's own, which is named where all have the same."""
    import geopandas  # noqa: PLC0415

    own = {file.crs for file in files}
    shapes = geopandas.GeoSeries([_outline(file, crs) for file in files], crs=crs or (own.pop() if len(own) == 1 else None))
    return geopandas.GeoDataFrame({"id": [file.scene for file in files], "datetime": [file.datetime for file in files]}, geometry=shapes)


def _native(engine: Engine, scenes: Sequence[SceneFiles], areas: Areas, wish: Wish) -> Iterator[_Row]:
    """Windows of each file's own grid."""
    cuts: list[tuple[int, int, int, Cut]] = []
    for place, scene in enumerate(scenes):
        for area in range(len(areas.shapes)):
            found = [(band, cut_of(file, areas.in_crs(file.crs)[area])) for band, file in enumerate(scene.files)]
            cuts.extend((place, area, band, cut) for band, cut in found if cut is not None)
    check_size((sum(cut.grid.width * cut.grid.height for *_, cut in cuts),), _widest(scenes, wish), remedy=SMALLER)
    for answer in engine.read(cut.read for *_, cut in cuts):
        place, area, band, cut = cuts[answer.index]
        data = _values(answer.pixels, cut.read.file, wish, cut.inside(all_touched=wish.all_touched))
        yield _Row(scene=place, area=area, band=band, file=scenes[place], grid=cut.grid, data=data)


def _gridded(engine: Engine, scenes: Sequence[SceneFiles], areas: Areas, wish: Wish) -> Iterator[_Row]:
    """Each geometry on a grid of its own, whatever the file's."""
    places = [(place, band) for place, scene in enumerate(scenes) for band in range(len(scene.files))]
    files = [scenes[place].files[band] for place, band in places]
    kernels: list[Resampling] = [wish.resampling[band] for _, band in places]
    check_classes(files, kernels)
    grids = [grid_over([shape], files, crs=wish.crs, resolution=wish.resolution) for shape in areas.shapes]
    check_size((len(files), sum(grid.width * grid.height for grid in grids)), _widest(scenes, wish), remedy=SMALLER)
    for area, (shape, grid) in enumerate(zip(areas.shapes, grids, strict=True)):
        mask = within(shape, grid, all_touched=wish.all_touched)
        near = [index for index, file in enumerate(files) if read_for(file, grid, kernels[index]) is not None]
        for answer in on_grid(engine, [files[index] for index in near], grid, resampling=[kernels[index] for index in near]):
            place, band = places[near[answer.index]]
            data = _values(answer.pixels, scenes[place].files[band], wish, mask)
            yield _Row(scene=place, area=area, band=band, file=scenes[place], grid=grid, data=data)


def _widest(scenes: Sequence[SceneFiles], wish: Wish) -> int:
    """Bytes of a value."""
    return max((band_dtype(scene.files, wish).itemsize for scene in scenes), default=0)


def _values(pixels: Pixels, file: BandFile, wish: Wish, mask: NDArray[np.bool_]) -> NDArray[Any]:
    data = np.array(values_of(pixels, file, wish))
    layers = Layers(data=data[None], valid=(pixels.valid & mask)[None])
    filled(layers, None, fill_of([file], data.dtype, wish) or 0)
    return np.ma.MaskedArray(data, ~layers.valid[0]) if wish.masked else data


def _columns(rows: Sequence[_Row], areas: Areas, wish: Wish, source: str) -> dict[str, Any]:
    load_gdal()
    from rasterio.transform import Affine as Transform  # noqa: PLC0415

    return {
        "record_id": [row.file.id for row in rows],
        "datetime": [row.file.datetime for row in rows],
        "cloud_cover": [row.file.cloud_cover for row in rows],
        "collection": [row.file.collection or source for row in rows],
        "geometry_id": [areas.rows[row.area] + 1 for row in rows],
        "band": [wish.bands[row.band] for row in rows],
        "data": [row.data for row in rows],
        "transform": [Transform(*row.grid.affine) for row in rows],
        "crs": [row.grid.crs for row in rows],
    }


def _own(rows: Sequence[_Row], areas: Areas) -> dict[str, Any]:
    """The columns of the table that the geometries came in."""
    if areas.columns is None:
        return {}
    table = areas.columns.take([areas.rows[row.area] for row in rows]).to_pandas()
    return {name: table[name].to_numpy() for name in areas.columns.column_names}


def _check_names(columns: pa.Table | None) -> None:
    taken = [name for name in (columns.column_names if columns is not None else ()) if name in COLUMNS]
    if taken:
        raise SpecError(f"the table of geometries has a column {taken[0]!r}, as the result has", remedy="rename it, or leave it out")


def _outline(file: BandFile, crs: str | None) -> BaseGeometry:
    """The edge of the pixels of the full resolution, bent where it is moved."""
    full = file.header.full
    a, b, c, d, e, f = level_affine(file.header, full)
    corners = [(0, 0), (full.width, 0), (full.width, full.height), (0, full.height)]
    shape = shapely.Polygon([(a * col + b * row + c, d * col + e * row + f) for col, row in corners])
    if crs is None or same_crs(file.crs, crs):
        return shape
    west, south, east, north = shape.bounds
    mover: Any = transformer(file.crs, crs).transform
    return shapely.transform(shapely.segmentize(shape, max(east - west, north - south) / _BENDS), mover, interleaved=False)
