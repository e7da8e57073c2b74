"""Scenes on a grid as an xarray Dataset, by the conventions of CF and rioxarray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from rasterloom.access.pixels.arrays import SMALLER
from rasterloom.access.pixels.engine import Engine
from rasterloom.access.pixels.scenes import Step
from rasterloom.access.pixels.stacks import Wish, band_dtype, check_size, fill_layers, fill_of, filled, within
from rasterloom.access.pixels.systems import known_crs
from rasterloom.access.pixels.values import BandFile
from rasterloom.raster.grid import Grid

if TYPE_CHECKING:
    import xarray

SPATIAL_REF = "spatial_ref"


@dataclass(frozen=True, kw_only=True, eq=False)
class Stack:
    """What a Dataset is made of."""

    steps: tuple[Step, ...]
    grid: Grid
    wish: Wish
    area: BaseGeometry
    """Lon/lat; pixels outside of it are not valid."""

    @cached_property
    def files(self) -> list[list[BandFile]]:
        """Of each band."""
        return [[scene.files[band] for step in self.steps for scene in step.scenes] for band in range(len(self.wish.bands))]

    @cached_property
    def dtypes(self) -> list[np.dtype[Any]]:
        return [band_dtype(files, self.wish) for files in self.files]

    @cached_property
    def fills(self) -> list[float | int | None]:
        """What stands where no pixel is valid; None for integers of files without nodata: 0, which may be a value too."""
        known = [fill_of(files, dtype, self.wish) for files, dtype in zip(self.files, self.dtypes, strict=True)]
        return [np.nan if fill is None and dtype.kind in "fc" else fill for fill, dtype in zip(known, self.dtypes, strict=True)]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Steps, height, width."""
        return len(self.steps), self.grid.height, self.grid.width


def read_arrays(engine: Engine, stack: Stack) -> list[NDArray[Any]]:
    """One array of `stack.shape` per band."""
    check_size(stack.shape, sum(dtype.itemsize + 2 for dtype in stack.dtypes), remedy=SMALLER)
    targets = [np.zeros(stack.shape, dtype) for dtype in stack.dtypes]
    inside = within(stack.area, stack.grid, all_touched=stack.wish.all_touched)
    found = fill_layers(engine, stack.steps, stack.grid, stack.wish, targets)
    return [filled(layers, inside, fill or 0).data for layers, fill in zip(found, stack.fills, strict=True)]


def dataset_of(stack: Stack, arrays: Sequence[Any], source: str) -> xarray.Dataset:
    """`arrays`, one of `stack.shape` per band, with coordinates and attributes."""
    import xarray  # noqa: PLC0415  # takes a third of a second, and a build needs none

    variables: dict[str, Any] = {}
    for band, array, fill, files in zip(stack.wish.bands, arrays, stack.fills, stack.files, strict=True):
        attributes = _attributes(fill, files, stack.wish)
        variables[band] = xarray.Variable(("time", "y", "x"), array, attributes, {"grid_mapping": SPATIAL_REF})
    return xarray.Dataset(variables, _coordinates(stack.steps, stack.grid), {"collection": source, "crs": stack.grid.crs})


def _attributes(fill: float | int | None, files: Sequence[BandFile], wish: Wish) -> dict[str, Any]:
    attributes: dict[str, Any] = {} if fill is None else {"_FillValue": fill}
    linear = {(_first(file.header.scales, 1.0), _first(file.header.offsets, 0.0)) for file in files}
    if not wish.scaled and len(linear) == 1 and linear != {(1.0, 0.0)}:
        ((attributes["scale_factor"], attributes["add_offset"]),) = linear
    return attributes


def _first(values: tuple[float, ...] | None, default: float) -> float:
    return values[0] if values else default


def _coordinates(steps: Sequence[Step], grid: Grid) -> dict[str, Any]:
    a, b, c, d, e, f = grid.affine
    crs = known_crs(grid.crs)
    axes = {axis["axis"].lower(): axis for axis in crs.cs_to_cf() if "axis" in axis}
    clouds = [_single([scene.cloud_cover for scene in step.scenes], np.nan) for step in steps]
    found: dict[str, Any] = {
        "time": ("time", np.array([step.datetime for step in steps], "datetime64[ns]")),
        "y": ("y", f + (np.arange(grid.height) + 0.5) * e, axes.get("y", {})),
        "x": ("x", c + (np.arange(grid.width) + 0.5) * a, axes.get("x", {})),
        "id": ("time", np.array([",".join(scene.id for scene in step.scenes) for step in steps], object)),
        SPATIAL_REF: ((), 0, {**crs.to_cf(), "crs_wkt": crs.to_wkt(), "GeoTransform": f"{c!r} {a!r} {b!r} {f!r} {d!r} {e!r}"}),
    }
    if not np.isnan(clouds).all():
        found["cloud_cover"] = ("time", np.array(clouds, float), {"units": "percent"})
    return found


def _single(values: Sequence[float | None], default: float) -> float:
    """Of the scenes of a step: the first that says one."""
    return next((value for value in values if value is not None), default)
