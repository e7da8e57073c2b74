"""Chosen scenes on a grid that the caller fixes: `Collection.read_window`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from rasterloom.access.pixels.areas import Areas, areas_of
from rasterloom.access.pixels.arrays import SMALLER, finished
from rasterloom.access.pixels.engine import Engine
from rasterloom.access.pixels.scenes import GroupBy, SceneFiles, Step, steps_of
from rasterloom.access.pixels.stacks import Layers, Wish, band_dtype, check_size, fill_layers, within
from rasterloom.access.pixels.values import BandFile
from rasterloom.access.pixels.vectors import Named
from rasterloom.errors import SpecError
from rasterloom.raster.grid import Grid

GROUPS: dict[str, GroupBy] = {"id": "scene", "scene": "scene", "datetime": "datetime", "solar_day": "solar_day"}
"""Rasteret's names and ours."""


def group_given(name: str) -> GroupBy:
    """Raises SpecError for what is no way to group."""
    if name not in GROUPS:
        raise SpecError(f"group_by is {name!r}", remedy=f"choose one of {', '.join(GROUPS)}")
    return GROUPS[name]


def fixed_grid(bounds: Sequence[float], res: float | Sequence[float], crs: str) -> Grid:
    """The grid from the upper left corner of (left, bottom, right, top), as many whole pixels as fit best. Raises SpecError."""
    wide, high = (res, res) if isinstance(res, (int, float)) else tuple(res)
    left, bottom, right, top = bounds
    if not (wide > 0 and high > 0 and left < right and bottom < top):
        raise SpecError(f"bounds {tuple(bounds)} and res {res} make no grid", remedy="give (left, bottom, right, top) and a size above 0")
    width, height = round((right - left) / wide), round((top - bottom) / high)
    return Grid(crs=crs, affine=(float(wide), 0.0, float(left), 0.0, -float(high), float(top)), width=max(width, 1), height=max(height, 1))


def ordered(scenes: Sequence[SceneFiles], ids: Sequence[str] | None) -> list[SceneFiles]:
    """In the order of `ids`. Raises SpecError for one that is not there."""
    if ids is None:
        return list(scenes)
    known: dict[str, list[SceneFiles]] = {}
    for scene in scenes:
        known.setdefault(scene.id, []).append(scene)
    missing = [each for each in ids if each not in known]
    if missing or not ids:
        what = f"no scene {missing[0]!r}" if missing else "no id"
        raise SpecError(f"there is {what} in the view", remedy="see the column id of to_table()")
    return [scene for each in dict.fromkeys(ids) for scene in known[each]]


def area_of_bounds(bounds: Sequence[float], crs: str) -> Areas:
    """The box of a grid."""
    return areas_of(shapely.box(bounds[0], bounds[1], bounds[2], bounds[3]), Named(crs=crs))


def window_of_scenes(
    engine: Engine, scenes: Sequence[SceneFiles], grid: Grid, wish: Wish, group_by: GroupBy | None, area: BaseGeometry | None = None
) -> NDArray[Any]:
    """Shape (bands, height, width); with `group_by` (steps, bands, height, width). Of several pixels at a place the first wins.

    Outside of a lon/lat `area` no pixel is valid.
    """
    steps = [Step(scenes=tuple(scenes))] if group_by is None else steps_of(scenes, group_by)
    files: list[list[BandFile]] = [[scene.files[band] for scene in scenes] for band in range(len(wish.bands))]
    dtype = np.result_type(*(band_dtype(each, wish) for each in files))
    shape = (len(steps), len(wish.bands), grid.height, grid.width)
    check_size(shape, dtype.itemsize, remedy=SMALLER)
    data = np.zeros(shape, dtype)
    layers = fill_layers(engine, steps, grid, wish, [data[:, band] for band in range(len(wish.bands))])
    valid = np.stack([layer.valid for layer in layers], axis=1)
    if area is not None:
        valid &= within(area, grid, all_touched=wish.all_touched)
    found = finished(Layers(data=data, valid=valid), files, wish)
    return found[0] if group_by is None else found
