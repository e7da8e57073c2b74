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
from rasterloom.access.reads.job import ReadJob
from rasterloom.access.reads.scenes import PlannedScene
from rasterloom.access.views import geometries_of
from rasterloom.errors import SpecError
from rasterloom.raster.grid import Grid
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
    crs = read.crs or _common_crs(job, scenes)
    grid = grid_of(area_of(job, view), crs=crs, resolution=read.resolution or _finest(job, scenes, crs))
    if grid.width * grid.height > LARGEST:
        raise SpecError(
            f"reads.{job.read}: its grid has {grid.width:,} x {grid.height:,} pixels, the limit is {LARGEST:,} in all",
            remedy="give a smaller area, or a coarser resolution",
        )
    return grid


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


def _finest(job: ReadJob, scenes: Sequence[PlannedScene], crs: str) -> float:
    every = [facts.affine for scene in scenes for facts in scene.files.values() if facts.crs == crs and facts.affine is not None]
    if not every:
        raise SpecError(f"reads.{job.read}: no file is in {crs[:60]}, so none says how large its pixels are", remedy="add resolution: ...")
    return min(math.hypot(affine[0], affine[3]) for affine in every)


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
