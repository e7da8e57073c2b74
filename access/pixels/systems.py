"""Coordinate reference systems, and places of one grid as those of another."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import pyproj
from numpy.typing import NDArray
from pyproj.exceptions import ProjError

from rasterloom.errors import Unreadable
from rasterloom.raster.grid import Grid
from rasterloom.raster.header import Affine


@lru_cache(maxsize=64)
def known_crs(crs: str) -> pyproj.CRS:
    """`EPSG:n`, WKT or PROJJSON text. Raises `Unreadable` (`crs`)."""
    try:
        return pyproj.CRS.from_user_input(json.loads(crs) if crs.startswith("{") else crs)
    except ProjError as error:
        raise Unreadable(f"the CRS {crs[:60]!r} is not known: {error}", reason="crs", remedy="leave the scene out with where()") from error


@lru_cache(maxsize=256)
def same_crs(one: str, other: str) -> bool:
    """Whether two texts mean the same coordinates, whatever their order of axes: x is always east or longitude here."""
    return one == other or known_crs(one).equals(known_crs(other), ignore_axis_order=True)


@lru_cache(maxsize=256)
def transformer(source: str, target: str) -> pyproj.Transformer:
    """From x, y of `source` to those of `target`. Raises `Unreadable` (`crs`) where there is no way, as from the Earth to Mars."""
    try:
        return pyproj.Transformer.from_crs(known_crs(source), known_crs(target), always_xy=True)
    except ProjError as error:
        message = f"there is no way from {source[:60]} to {target[:60]}: {error}"
        raise Unreadable(message, reason="crs", remedy="leave the scene out with where()") from error


def is_geographic(crs: str) -> bool:
    """Whether coordinates are angles, of which x and x + 360 are one place."""
    return known_crs(crs).is_geographic


def to_pixel(affine: Affine, x: Any, y: Any) -> tuple[Any, Any]:
    """Column and row, 0.0 at the corner of the first pixel; numbers or arrays."""
    a, b, c, d, e, f = affine
    area = a * e - b * d
    return (e * (x - c) - b * (y - f)) / area, (a * (y - f) - d * (x - c)) / area


def to_place(affine: Affine, col: Any, row: Any) -> tuple[Any, Any]:
    """x and y; numbers or arrays."""
    a, b, c, d, e, f = affine
    return a * col + b * row + c, d * col + e * row + f


def seen_from(crs: str, affine: Affine, grid: Grid, cols: NDArray[Any], rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Columns and rows of a grid as those of the raster that has `affine` in `crs`; infinite where there is no such place."""
    x, y = to_place(grid.affine, cols, rows)
    return to_pixel(affine, *((x, y) if same_crs(crs, grid.crs) else transformer(grid.crs, crs).transform(x, y)))
