"""Where the pixels of a grid lie in a raster of another one: exact at few of them, a polynomial between, checked before it is used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from rasterloom.access.pixels.systems import is_geographic, same_crs, to_pixel, to_place, transformer
from rasterloom.raster.grid import Grid
from rasterloom.raster.tiles import Window

_TOLERANCE = 0.0001
"""Pixels of the source by which a polynomial may miss at a check; GDAL's default is 0.125."""
_DEGREE = 5
_CHECKS = 8
"""Places along each side at which it is checked: the corners, and seven parts between."""
_SMALLEST = 32
"""Pixels along the longer side of what is not cut further: each of its places is computed."""
_LOST = 64
"""The same of what is left out where none of its places that are looked at exists."""
_PATCH = 128
"""Pixels along the sides of a patch: what is computed of it stays in the cache of a core."""
_NOWHERE = -1e6
"""A column or row where there is none."""


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """Some pixels of the target."""

    rows: slice
    cols: slice
    x: NDArray[np.float64]
    """Columns of the source under their centres, 0.0 at the corner of its first pixel; finite, far beside it where there is no place."""
    y: NDArray[np.float64]
    """Rows."""


def patches(source: Grid, target: Grid) -> Iterator[Patch]:
    """All pixels of `target` that have a place in the CRS of `source`, each once. Raises `Unreadable` (`crs`)."""
    if same_crs(source.crs, target.crs):
        yield from _shifted(source, target)
        return
    for block, fit in _blocks(source, target, Window(col=0, row=0, width=target.width, height=target.height)):
        yield from _exact(source, target, block) if fit is None else _interpolated(fit, block)


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """Coefficients of Chebyshev polynomials, shape (degree + 1, degree + 1): of rows, then columns."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]


def _interpolated(fit: _Fit, block: Window) -> Iterator[Patch]:
    down, across = _basis(block.height), _basis(block.width).T
    x, y = fit.x @ across, fit.y @ across
    for rows, cols in _parts(block):
        own, part = down[rows.start - block.row : rows.stop - block.row], slice(cols.start - block.col, cols.stop - block.col)
        yield Patch(rows, cols, own @ x[:, part], own @ y[:, part])


def _shifted(source: Grid, target: Grid) -> Iterator[Patch]:
    """Of one CRS: sums, which are exact where the numbers are."""
    origin = to_pixel(source.affine, target.affine[2], target.affine[5])
    a, b, _, d, e, _ = target.affine
    across, down = to_pixel((*source.affine[:2], 0.0, *source.affine[3:5], 0.0), np.array([a, b]), np.array([d, e]))
    for rows, cols in _parts(Window(col=0, row=0, width=target.width, height=target.height)):
        col, row = _centres(cols)[None, :], _centres(rows)[:, None]
        x, y = (step[0] * col + step[1] * row + start for step, start in zip((across, down), origin, strict=True))
        yield Patch(rows, cols, x, y)


def _blocks(source: Grid, target: Grid, block: Window) -> Iterator[tuple[Window, _Fit | None]]:
    """Parts of the target with a fit that holds, or without one where they are small."""
    if max(block.width, block.height) <= _SMALLEST:
        yield block, None
        return
    looked = _looked(source, target, block)
    if looked is None and max(block.width, block.height) <= _LOST:
        return
    fit = None if looked is None else _fitted(*looked)
    if fit is not None:
        yield block, fit
        return
    for part in _halves(block):
        yield from _blocks(source, target, part)


def _looked(source: Grid, target: Grid, block: Window) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Columns and rows of the source at the nodes and then at the checks of a block; None where there is not one."""
    cols, rows = (start + (_offsets() + 1) / 2 * length for start, length in ((block.col, block.width), (block.row, block.height)))
    split = _DEGREE + 1
    lattices = [np.meshgrid(cols[part], rows[part]) for part in (slice(split), slice(split, None))]
    x, y = _seen(source, target, *(np.concatenate([lattice[axis].ravel() for lattice in lattices]) for axis in (0, 1)))
    return (x, y) if np.isfinite(x).any() and np.isfinite(y).any() else None


def _fitted(x: NDArray[np.float64], y: NDArray[np.float64]) -> _Fit | None:
    """None where the polynomials are not near enough at the checks."""
    split, checks = (_DEGREE + 1) ** 2, chebyshev.chebvander(_offsets()[_DEGREE + 1 :], _DEGREE)
    made: list[NDArray[np.float64]] = []
    for seen in (x, y):
        solved = _solver() @ seen[:split].reshape(_DEGREE + 1, -1) @ _solver().T
        with np.errstate(invalid="ignore"):
            missed = np.abs(checks @ solved @ checks.T - seen[split:].reshape(_CHECKS, -1)).max()
        if not missed <= _TOLERANCE:  # NaN neither
            return None
        made.append(solved)
    return _Fit(*made)


@lru_cache(maxsize=1)
def _offsets() -> NDArray[Any]:
    """From -1 to 1: the nodes of the polynomial, then the checks."""
    return np.concatenate([chebyshev.chebpts1(_DEGREE + 1), np.linspace(-1, 1, _CHECKS)])


@lru_cache(maxsize=1)
def _solver() -> NDArray[Any]:
    """Values at the nodes -> coefficients."""
    return np.linalg.inv(chebyshev.chebvander(_offsets()[: _DEGREE + 1], _DEGREE))


@lru_cache(maxsize=16)
def _basis(length: int) -> NDArray[Any]:
    """Of the centres of so many pixels."""
    return chebyshev.chebvander((np.arange(length) + 0.5) * (2 / length) - 1, _DEGREE)


def _exact(source: Grid, target: Grid, block: Window) -> Iterator[Patch]:
    for rows, cols in _parts(block):
        x, y = _seen(source, target, *np.meshgrid(_centres(cols), _centres(rows)))
        lost = ~(np.isfinite(x) & np.isfinite(y))
        x[lost] = y[lost] = _NOWHERE
        yield Patch(rows, cols, x, y)


def _seen(source: Grid, target: Grid, cols: NDArray[Any], rows: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Columns and rows of the source. Longitudes are counted as the source does, whatever side of the antimeridian it begins at."""
    x, y = transformer(target.crs, source.crs).transform(*to_place(target.affine, cols, rows))
    with np.errstate(invalid="ignore"):  # of infinities come NaN
        if is_geographic(source.crs):
            middle, _ = to_place(source.affine, source.width / 2, source.height / 2)
            x += 360 * np.round((middle - x) / 360)
        return to_pixel(source.affine, x, y)


def _centres(part: slice) -> NDArray[np.float64]:
    return np.arange(part.start, part.stop) + 0.5


def _parts(block: Window) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of patches."""
    bottom, right = block.row + block.height, block.col + block.width
    for row in range(block.row, bottom, _PATCH):
        for col in range(block.col, right, _PATCH):
            yield slice(row, min(row + _PATCH, bottom)), slice(col, min(col + _PATCH, right))


def _halves(block: Window) -> tuple[Window, Window]:
    """Across the longer side."""
    if block.width >= block.height:
        left = block.width // 2
        return (
            Window(col=block.col, row=block.row, width=left, height=block.height),
            Window(col=block.col + left, row=block.row, width=block.width - left, height=block.height),
        )
    top = block.height // 2
    return (
        Window(col=block.col, row=block.row, width=block.width, height=top),
        Window(col=block.col, row=block.row + top, width=block.width, height=block.height - top),
    )
