"""A cube as Zarr, version 2 with consolidated metadata: what zarr 2 and 3, xarray, GDAL and the readers of other languages open."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rasterloom.access.reads.cube import SPATIAL_REF, Cube, Variable
from rasterloom.access.reads.job import Link, Part
from rasterloom.raster.grid import Grid
from rasterloom.raster.layers import Layer
from rasterloom.raster.tiles import Window

_LONGEST = 700
"""Pixels of the longer edge of a panel of the picture, about."""


class StepWriter:
    """Writes the arrays of one step in time, shape (1, height, width), block by block. Chunks without a valid pixel are not there."""

    def __init__(self, folder: Path, grid: Grid, variables: Sequence[Variable], *, chunks: tuple[int, int]) -> None:
        self._group = _new_group(folder)
        self._variables = variables
        shape = (1, grid.height, grid.width)
        self._arrays = {each.name: _new_array(self._group, each, shape=shape, chunks=(1, *chunks)) for each in variables}

    def write(self, window: Window, layers: Mapping[str, Layer]) -> None:
        """`window` begins at a chunk."""
        rows, cols = slice(window.row, window.row + window.height), slice(window.col, window.col + window.width)
        for variable in self._variables:
            layer = layers.get(variable.name)
            if layer is not None and layer.valid.any():
                self._arrays[variable.name][0, rows, cols] = variable.filled(layer, (window.height, window.width))


def _new_group(folder: Path) -> Any:
    import zarr  # noqa: PLC0415  a build needs none

    return zarr.open_group(str(folder), mode="w", zarr_format=2)


def _new_array(group: Any, variable: Variable, *, shape: tuple[int, ...], chunks: tuple[int, ...]) -> Any:
    from numcodecs import Blosc  # noqa: PLC0415  a build needs none

    attributes = {"_ARRAY_DIMENSIONS": ["time", "y", "x"], **variable.attributes}
    return group.create_array(
        name=variable.name,
        shape=shape,
        chunks=chunks,
        dtype=variable.dtype,
        fill_value=variable.fill_value,
        compressors=Blosc(cname="zstd", clevel=5, shuffle=Blosc.SHUFFLE),
        attributes=attributes,
        config={"write_empty_chunks": False},
    )


def write_zarr(cube: Cube, steps: Sequence[tuple[int, Part]], folder: Path) -> tuple[Link, ...]:
    """`steps`: place of each part among all parts, and the part. With one step per chunk nothing is read: the chunks are linked."""
    import zarr  # noqa: PLC0415  a build needs none

    name = cube.file("zarr")
    group = _new_group(folder / name)
    arrays = {variable.name: _new_array(group, variable, shape=cube.shape, chunks=cube.chunks) for variable in cube.variables}
    for label, (dimensions, values, attributes) in cube.coordinates.items():
        _coordinate(group, label, dimensions, values, attributes)
    group.attrs.update({**cube.attributes, "coordinates": f"{SPATIAL_REF} scene"})
    links: tuple[Link, ...] = ()
    if cube.chunks[0] == 1:
        links = tuple(link for time, (number, part) in enumerate(steps) for link in _links(cube, name, time, number, part))
    else:
        _rechunk(cube, arrays, [part for _, part in steps])
    zarr.consolidate_metadata(str(folder / name), zarr_format=2)
    return links


def _coordinate(group: Any, name: str, dimensions: tuple[str, ...], values: NDArray[Any], attributes: Mapping[str, Any]) -> None:
    array = group.create_array(
        name=name,
        shape=values.shape,
        chunks=values.shape,
        dtype=values.dtype,
        fill_value=None,
        attributes=_plain(attributes) | {"_ARRAY_DIMENSIONS": list(dimensions)},
    )
    array[...] = values


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Without what JSON has no word for."""
    return {key: value.item() if hasattr(value, "item") else value for key, value in attributes.items()}


def _links(cube: Cube, name: str, time: int, number: int, part: Part) -> list[Link]:
    """Of every chunk that the part has."""
    found: list[Link] = []
    wanted = {variable.name for variable in cube.variables}
    for file in part.ref.files:
        variable, _, chunk = file.path.partition("/")
        if variable in wanted and chunk.startswith("0."):
            found.append(Link(path=f"{name}/{variable}/{time}.{chunk.partition('.')[2]}", part=number, file=file.path))
    return found


def _rechunk(cube: Cube, arrays: Mapping[str, Any], parts: Sequence[Part]) -> None:
    """Several steps in one chunk: read and written chunk by chunk."""
    sources = [open_step(part) for part in parts]
    deep, high, wide = cube.chunks
    for name, array in arrays.items():
        for time in range(0, len(parts), deep):
            for row in range(0, cube.shape[1], high):
                for col in range(0, cube.shape[2], wide):
                    rows, cols = slice(row, min(row + high, cube.shape[1])), slice(col, min(col + wide, cube.shape[2]))
                    array[time : time + deep, rows, cols] = np.stack([each[name][0, rows, cols] for each in sources[time : time + deep]])


def open_step(part: Part) -> Any:
    """The group that `StepWriter` wrote."""
    import zarr  # noqa: PLC0415  a build needs none

    for file in part.ref.files:
        part.path(file.path)
    return zarr.open_group(str(part.path(".zgroup").parent), mode="r", zarr_format=2)


def panel_layers(cube: Cube, part: Part, names: Sequence[str]) -> dict[str, Layer]:
    """Every n-th pixel of a step, to look at."""
    group = open_step(part)
    step = max(1, math.ceil(max(cube.shape[1:]) / _LONGEST))
    layers: dict[str, Layer] = {}
    for variable in cube.variables:
        if variable.name in names:
            data = np.asarray(group[variable.name][0, ::step, ::step])
            fill = variable.fill_value
            layers[variable.name] = Layer(data, ~np.isnan(data) if fill != fill else data != fill)
    return layers
