"""`chips`: windows of one size on one grid, for training, with a manifest that says where and when each one is.

A unit is one scene; its chips are files that become files of the output as they are. Windows begin at the corner of the grid, so that a
window is the same ground in every scene, and in every run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from rasterloom.access.collection import Collection
from rasterloom.access.pixels.gridded import projected
from rasterloom.access.reads.chipfiles import Chip, chip_layers, write_chip, write_manifest, write_zarr
from rasterloom.access.reads.grids import grid_from_json, grid_of_job, grid_to_json
from rasterloom.access.reads.job import Finished, Link, Made, Part, ReadJob, Unit, digest_of, unit_key
from rasterloom.access.reads.layers import scene_layers
from rasterloom.access.reads.making import Making
from rasterloom.access.reads.pictures import Panel, colours_of, metres_of, quicklook
from rasterloom.access.reads.scenes import output_bands, planned_scenes
from rasterloom.access.values import Failure
from rasterloom.access.views import geometries_of
from rasterloom.errors import SpecError
from rasterloom.raster.grid import Grid
from rasterloom.raster.layers import Layer
from rasterloom.raster.tiles import Window, window_affine
from rasterloom.specs.reads import ChipsRead

VERSION = 1
"""Of what a unit holds."""
MOST = 100_000
"""Windows of a grid: each is a file, or a chunk, of every scene."""
MANIFEST, ARRAY = "chips.parquet", "chips.zarr"
_BLOCK = 2048
"""Pixels of the edge of what is read of a scene at once, about."""
_PANELS = 12


def plan(job: ReadJob, view: Collection) -> list[Unit]:
    """A unit per scene, by time."""
    read = _read(job)
    scenes = planned_scenes(job, view)
    bands = output_bands(read, view.bands)
    grid = grid_of_job(job, view, scenes)
    if read.size > min(grid.width, grid.height):
        raise SpecError(
            f"reads.{job.read}: a chip is {read.size} pixels wide and high, the area {grid.width} x {grid.height}",
            remedy="give a larger area, a finer resolution, or a smaller size",
        )
    count = _counted(grid.height, read) * _counted(grid.width, read)
    if count > MOST:
        raise SpecError(
            f"reads.{job.read}: there are {count:,} windows, the most are {MOST:,}", remedy="give a smaller area or a larger stride"
        )
    names = [*bands, *(read.expressions or {})]
    cut = [read.size, read.stride, read.min_valid, read.area or job.area]
    question = [grid_to_json(grid), list(bands), read.expressions, [each.model_dump() for each in read.mask or ()], read.resampling]
    return [
        Unit(
            key=unit_key("chips", VERSION, scene.digest, question, cut),
            label=scene.id,
            scenes=(scene.id,),
            payload={"grid": grid_to_json(grid), "names": names, "datetime": scene.datetime.isoformat() if scene.datetime else None},
            pixels=grid.width * grid.height * len(names),
            held=min(grid.width, _BLOCK) * min(grid.height, _BLOCK) * (len(names) + 4),
        )
        for scene in scenes
    ]


def _counted(length: int, read: ChipsRead) -> int:
    """Windows along an edge."""
    return (length - read.size) // (read.stride or read.size) + 1


def _read(job: ReadJob) -> ChipsRead:
    read = job.model
    assert isinstance(read, ChipsRead)
    return read


def windows_of(job: ReadJob, grid: Grid) -> list[Window]:
    """The windows that lie inside of the grid and meet the area, row by row."""
    read = _read(job)
    step = read.stride or read.size
    rows, cols = range(0, grid.height - read.size + 1, step), range(0, grid.width - read.size + 1, step)
    every = [Window(col=col, row=row, width=read.size, height=read.size) for row in rows for col in cols]
    area = read.area or job.area
    if area is None:
        return every
    shape = projected(shapely.union_all(geometries_of(area)), grid.crs)
    shapely.prepare(shape)
    meets = shapely.intersects(shape, [shapely.box(*_bounds(grid, window)) for window in every])
    return [window for window, is_met in zip(every, meets, strict=True) if is_met]


def _bounds(grid: Grid, window: Window) -> tuple[float, float, float, float]:
    bounds = _part(grid, window).bounds
    return bounds.left, bounds.bottom, bounds.right, bounds.top


def _part(grid: Grid, window: Window) -> Grid:
    return Grid(crs=grid.crs, affine=window_affine(grid.affine, window), width=window.width, height=window.height)


def make(making: Making, unit: Unit, folder: Path) -> Made:
    """The chips of one scene that are valid enough, as GeoTIFFs `<row>_<col>.tif`."""
    read, grid, names = _read(making.job), grid_from_json(unit.payload["grid"]), unit.payload["names"]
    failures: dict[tuple[str, str], Failure] = {}
    chips: list[list[Any]] = []
    asked, dtype = 0, ""
    for block, windows in _blocks(windows_of(making.job, grid)):
        found = scene_layers(making, unit.scenes[0], _part(grid, block))
        failures |= {(failure.band, failure.reason): failure for failure in found.failures}
        asked = found.asked
        if list(found.layers) != names:
            continue
        for window in windows:
            layers = [_cut(layer, block, window) for layer in found.layers.values()]
            share = float(np.logical_and.reduce([layer.valid for layer in layers]).mean())
            if share >= read.min_valid and share > 0:
                dtype = write_chip(folder / _file(window), _part(grid, window), dict(zip(names, layers, strict=True)))
                chips.append([window.row, window.col, share])
    return Made(meta={"chips": sorted(chips), "dtype": dtype}, failures=tuple(failures.values()), asked=asked)


def _blocks(windows: Sequence[Window]) -> Iterator[tuple[Window, list[Window]]]:
    """Windows that are read together, and what holds them."""
    groups: dict[tuple[int, int], list[Window]] = {}
    for window in windows:
        groups.setdefault((window.row // _BLOCK, window.col // _BLOCK), []).append(window)
    for group in groups.values():
        col, row = min(window.col for window in group), min(window.row for window in group)
        right, bottom = max(window.col + window.width for window in group), max(window.row + window.height for window in group)
        yield Window(col=col, row=row, width=right - col, height=bottom - row), group


def _cut(layer: Layer, block: Window, window: Window) -> Layer:
    rows = slice(window.row - block.row, window.row - block.row + window.height)
    cols = slice(window.col - block.col, window.col - block.col + window.width)
    return Layer(layer.data[rows, cols], layer.valid[rows, cols])


def _file(window: Window) -> str:
    return f"{window.row:05d}_{window.col:05d}.tif"


def finish(job: ReadJob, parts: Sequence[Part], folder: Path) -> Finished:
    """`chips.parquet`, and the chips: `chips/<scene>/<row>_<col>.tif`, or `chips.zarr`."""
    read, payload = _read(job), parts[0].unit.payload
    grid, names = grid_from_json(payload["grid"]), payload["names"]
    chips = list(_chips(parts, grid, read))
    if not chips:
        raise SpecError(
            f"reads.{job.read}: no window of {read.size} x {read.size} pixels is valid in at least {read.min_valid:.0%} of them",
            remedy="lower min_valid, leave the mask out, or choose an area inside of the scenes",
        )
    write_manifest(folder / MANIFEST, chips, grid)
    links: tuple[Link, ...] = ()
    if read.format == "zarr":
        dtype = np.result_type(*{part.meta["dtype"] for part in parts if part.meta["dtype"]})
        write_zarr(folder / ARRAY, chips, [parts[chip.part].path(_file(chip.window)) for chip in chips], names=names, dtype=dtype)
    else:
        links = tuple(Link(path=chip.path, part=chip.part, file=_file(chip.window)) for chip in chips)
    shown = [chips[round(at)] for at in np.linspace(0, len(chips) - 1, min(_PANELS, len(chips)))]
    panels = [Panel(title=_title(chip), layers=chip_layers(parts[chip.part].path(_file(chip.window)), colours_of(names))) for chip in shown]
    (folder / "picture.png").write_bytes(quicklook(panels, title=f"{job.name}: {job.read}, {len(chips):,} chips", pixel=metres_of(grid)))
    meta = {"chips": len(chips), "size": read.size, "bands": names, "crs": grid.crs, "scenes": len({chip.scene for chip in chips})}
    return Finished(meta=meta, data=MANIFEST, picture="picture.png", links=links)


def _chips(parts: Sequence[Part], grid: Grid, read: ChipsRead) -> Iterator[Chip]:
    index = 0
    for number, part in enumerate(parts):
        scene = part.unit.scenes[0]
        for row, col, share in part.meta["chips"]:
            window = Window(col=col, row=row, width=read.size, height=read.size)
            path = ARRAY if read.format == "zarr" else f"chips/{_folder(scene)}/{_file(window)}"
            yield Chip(
                index=index, scene=scene, datetime=part.unit.payload["datetime"], window=window, grid=_part(grid, window), valid=share,
                path=path, part=number,
            )  # fmt: skip
            index += 1


def _folder(scene: str) -> str:
    """An id may hold what no file may be called."""
    plain = re.sub(r"[^\w.-]", "_", scene)
    return plain if plain == scene and scene.strip(".") else f"{plain.strip('.')}-{digest_of(scene)[:8]}"


def _title(chip: Chip) -> str:
    return f"{(chip.datetime or chip.scene)[:10]} row {chip.window.row} col {chip.window.col}"
