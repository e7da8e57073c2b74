"""A cube as NetCDF 4, written with h5netcdf a chunk at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rasterloom.access.reads.cube import SPATIAL_REF, Cube
from rasterloom.access.reads.job import Link, Part
from rasterloom.access.reads.stackzarr import open_step


def write_netcdf(cube: Cube, parts: Sequence[Part], folder: Path) -> tuple[Link, ...]:
    """Nothing is linked: a NetCDF is one file."""
    import h5netcdf  # noqa: PLC0415  a build needs none

    with h5netcdf.File(folder / cube.file("netcdf"), "w") as file:
        file.dimensions = dict(zip(("time", "y", "x"), cube.shape, strict=True))
        file.attrs.update(cube.attributes)
        _coordinates(cube, file)
        for variable in cube.variables:
            made = file.create_variable(
                variable.name,
                ("time", "y", "x"),
                np.dtype(variable.dtype),
                fillvalue=variable.fill_value,
                chunks=cube.chunks,
                compression="gzip",
                compression_opts=4,
                shuffle=True,
            )
            made.attrs.update(variable.attributes | {"coordinates": f"{SPATIAL_REF} scene"})
        for time, part in enumerate(parts):
            _write_step(cube, file, time, open_step(part))
    return ()


def _coordinates(cube: Cube, file: Any) -> None:
    import h5py  # noqa: PLC0415  a build needs none

    for name, (dimensions, values, attributes) in cube.coordinates.items():
        is_text = values.dtype.kind == "U"
        made = file.create_variable(name, dimensions, h5py.string_dtype() if is_text else values.dtype)
        made[...] = values.astype(object) if is_text else values
        made.attrs.update({key: value for key, value in attributes.items() if value is not None})


def _write_step(cube: Cube, file: Any, time: int, group: Any) -> None:
    high = cube.chunks[1] * max(1, 2048 // cube.chunks[1])
    for variable in cube.variables:
        for row in range(0, cube.shape[1], high):
            rows = slice(row, min(row + high, cube.shape[1]))
            file.variables[variable.name][time, rows, :] = group[variable.name][0, rows, :]
