"""The grid of a job, and its cutting into blocks that fit into memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from rasterloom.access.collection import Collection
from rasterloom.access.pixels.gridded import grid_of
from rasterloom.access.pixels.warp import PICKING
from rasterloom.access.reads.job import ReadJob
from rasterloom.access.reads.scenes import PlannedScene
from rasterloom.access.views import geometries_of
from rasterloom.errors import SpecError
from rasterloom.raster.grid import Grid
from rasterloom.raster.header import Affine
from rasterloom.raster.tiles import Window, window_affine
from rasterloom.specs.reads import ChipsRead, CompositeRead, StackRead

LARGEST = 1 << 34
"""Pixels of a grid: 131,072 x 131,072, 1,300 km at 10 m."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A part of a grid."""

    window: Window
    """In pixels of the whole grid."""
    grid: Grid
    """Of this part alone."""


def grid_of_job(job: ReadJob, view: Collection, scenes: Sequence[PlannedScene]) -> Grid:
    """The grid of a stack, composite or chips read: its own CRS and resolution, else those of the files.

    Raises SpecError where no file says them, or where the grid is larger than anybody means.
    """
    read = job.model
    assert isinstance(read, StackRead | CompositeRead | ChipsRead)
    _check_classes(job, scenes)
    crs = read.crs or _common_crs(job, scenes)
    own = _finest(scenes, crs)
    if own is None and read.resolution is None:
        message = f"reads.{job.read}: no file is in {crs[:60]}, so none says how large its pixels are"
        raise SpecError(message, remedy="add resolution: ...")
    resolution = read.resolution if read.resolution is not None or own is None else (own[0], -own[4])
    assert resolution is not None
    grid = grid_of(area_of(job, view), crs=crs, resolution=resolution, anchor=_anchor(own, read.resolution))
    if grid.width * grid.height > LARGEST:
        raise SpecError(
            f"reads.{job.read}: its grid has {grid.width:,} x {grid.height:,} pixels, the limit is {LARGEST:,} in all",
            remedy="give a smaller area, or a coarser resolution",
        )
    return grid


def _check_classes(job: ReadJob, scenes: Sequence[PlannedScene]) -> None:
    """Raises SpecError for a resampling that would invent classes."""
    read = job.model
    assert isinstance(read, StackRead | CompositeRead | ChipsRead)
    masks = {mask.band for mask in read.mask or ()}  # always read with nearest
    mixed = [
        band
        for scene in scenes
        for band, facts in scene.files.items()
        if facts.is_classes and (band not in masks or band in (read.bands or ()))
    ]
    if mixed and read.resampling not in PICKING:
        message = f"reads.{job.read}: {mixed[0]} holds classes or bits: {read.resampling} would invent values between them"
        raise SpecError(message, remedy="write resampling: nearest or mode, or leave the band out")


def area_of(job: ReadJob, view: Collection) -> list[BaseGeometry]:
    """Lon/lat: of the read, else of the collection, else what the scenes cover."""
    area = job.model.area or job.area
    if area is not None:
        return geometries_of(area)
    west, south, east, north = view.bounds or (-180.0, -90.0, 180.0, 90.0)
    return [shapely.box(west, south, east, north)] if west <= east else geometries_of((west, south, east, north))


def _common_crs(job: ReadJob, scenes: Sequence[PlannedScene]) -> str:
    counted = Counter(facts.crs for scene in scenes for facts in scene.files.values())
    if not counted:
        raise SpecError(f"reads.{job.read}: no scene has a header to take a CRS from", remedy="see `rasterloom failures`")
    return min(counted, key=lambda crs: (-counted[crs], crs))


def _finest(scenes: Sequence[PlannedScene], crs: str) -> Affine | None:
    """Of the north-up file in this CRS with the smallest pixels; of several the one that comes first by its corner."""
    every = {facts.affine for scene in scenes for facts in scene.files.values() if facts.crs == crs and facts.affine is not None}
    return min((each for each in every if each[1] == each[3] == 0 and each[0] > 0 > each[4]), default=None)


def _anchor(own: Affine | None, asked: float | None) -> tuple[float, float]:
    """A corner of the files' own pixels where the grid has their size: they are then copied and not resampled."""
    if own is None or (
        asked is not None and not (math.isclose(own[0], asked, rel_tol=1e-9) and math.isclose(-own[4], asked, rel_tol=1e-9))
    ):
        return 0.0, 0.0
    return own[2] % own[0], own[5] % -own[4]


def blocks_of(grid: Grid, *, edge: int, down: int = 1, across: int = 1) -> Iterator[Block]:
    """Parts of about `edge` pixels a side, whole multiples of `down` and `across`, row by row."""
    high, wide = max(edge // down, 1) * down, max(edge // across, 1) * across
    for row in range(0, grid.height, high):
        for col in range(0, grid.width, wide):
            window = Window(col=col, row=row, width=min(wide, grid.width - col), height=min(high, grid.height - row))
            affine = window_affine(grid.affine, window)
            yield Block(window=window, grid=Grid(crs=grid.crs, affine=affine, width=window.width, height=window.height))


def grid_to_json(grid: Grid) -> dict[str, Any]:
    return {"crs": grid.crs, "affine": list(grid.affine), "width": grid.width, "height": grid.height}


def grid_from_json(mapping: Mapping[str, Any]) -> Grid:
    """Inverse of `grid_to_json`."""
    a, b, c, d, e, f = mapping["affine"]
    return Grid(crs=mapping["crs"], affine=(a, b, c, d, e, f), width=mapping["width"], height=mapping["height"])
