"""`stack`: scenes, or days of scenes, on one grid, as an array of time, y and x per band.

A unit is one step in time. With one step per chunk, the chunks of a unit are those of the output: a new scene is read and written, and
all others are linked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from rasterloom.access.collection import Collection
from rasterloom.access.reads.cube import Cube, Variable, variables_of
from rasterloom.access.reads.grids import blocks_of, grid_from_json, grid_of_job, grid_to_json
from rasterloom.access.reads.job import Finished, Made, Part, ReadJob, Unit, unit_key
from rasterloom.access.reads.layers import scene_layers
from rasterloom.access.reads.making import Making
from rasterloom.access.reads.pictures import Panel, colours_of, quicklook
from rasterloom.access.reads.scenes import PlannedScene, planned_scenes, read_bands
from rasterloom.access.reads.stacknetcdf import write_netcdf
from rasterloom.access.reads.stackzarr import StepWriter, panel_layers, write_zarr
from rasterloom.access.values import Failure
from rasterloom.errors import SpecError
from rasterloom.raster.grid import Grid
from rasterloom.raster.layers import Layer
from rasterloom.specs.reads import StackRead

VERSION = 1
"""Of the code that makes units."""
_EDGE = 2048
"""Pixels of a block that is read at once, at least."""
_PANELS = 12


def plan(job: ReadJob, view: Collection) -> tuple[Unit, ...]:
    read = _read(job)
    scenes = planned_scenes(job, view)
    grid = grid_of_job(job, view, scenes)
    variables = variables_of(read, view.bands, scenes)
    chunks = [min(read.chunks.y, grid.height), min(read.chunks.x, grid.width)]
    payload = {"grid": grid_to_json(grid), "variables": [asdict(variable) for variable in variables], "chunks": chunks}
    bands = read_bands(read, view.bands)
    return tuple(_unit(read, step, payload, bands, grid) for step in _steps(read, scenes))


def _steps(read: StackRead, scenes: Sequence[PlannedScene]) -> Iterator[tuple[str, list[PlannedScene]]]:
    """Label and scenes of each step, in order of time."""
    if read.by == "scene":
        yield from ((scene.id, [scene]) for scene in scenes)
        return
    days: dict[str, list[PlannedScene]] = {}
    for scene in scenes:
        days.setdefault(solar_day(scene.datetime, scene.middle), []).append(scene)
    yield from days.items()


def solar_day(instant: datetime | None, longitude: float) -> str:
    """The date at which the sun says it is, where 15 degrees are an hour: scenes of one pass have one, whatever the date in UTC."""
    return "" if instant is None else f"{instant + timedelta(hours=longitude / 15):%Y-%m-%d}"


def _unit(read: StackRead, step: tuple[str, list[PlannedScene]], payload: dict[str, Any], bands: Sequence[str], grid: Grid) -> Unit:
    label, scenes = step
    size = grid.width * grid.height * len(payload["variables"])
    block = min(grid.width, _EDGE) * min(grid.height, _EDGE) * (2 * len(bands) + len(payload["variables"]))
    decides = (read.resampling, [mask.model_dump(mode="json") for mask in read.mask or ()], read.expressions)
    return Unit(
        key=unit_key("stack", VERSION, payload, decides, [scene.digest for scene in scenes]),
        label=label,
        scenes=tuple(scene.id for scene in scenes),
        payload=payload | {"time": _text(scenes[0].datetime)},
        pixels=size,
        held=block,
    )


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()


def make(making: Making, unit: Unit, folder: Path) -> Made:
    """A group of arrays with one step in time."""
    grid, variables = grid_from_json(unit.payload["grid"]), [Variable(**each) for each in unit.payload["variables"]]
    high, wide = unit.payload["chunks"]
    writer = StepWriter(folder, grid, variables, chunks=(high, wide))
    failures: dict[tuple[str, str], Failure] = {}
    covered: set[str] = set()
    asked = 0
    for block in blocks_of(grid, edge=_EDGE, down=high, across=wide):
        found: dict[str, Layer] = {}
        asked = 0
        for scene in unit.scenes:
            read = scene_layers(making, scene, block.grid)
            asked += read.asked
            failures |= {(failure.item_id, failure.band): failure for failure in read.failures}
            covered |= {scene} if read.is_covered else set()
            for variable in variables:
                if variable.name in read.layers:
                    layer = variable.stored(read.layers[variable.name], making, scene)
                    found[variable.name] = _over(found.get(variable.name), layer)
        writer.write(block.window, found)
    meta = {"time": unit.payload["time"], "scenes": [scene for scene in unit.scenes if scene in covered], "label": unit.label}
    return Made(meta=meta, failures=tuple(failures.values()), asked=asked)


def _over(first: Layer | None, second: Layer) -> Layer:
    """The first, and where it has nothing the second."""
    if first is None:
        return second
    return Layer(np.where(first.valid, first.data, second.data), first.valid | second.valid)


def finish(job: ReadJob, parts: Sequence[Part], folder: Path) -> Finished:
    read, steps = _read(job), [(number, part) for number, part in enumerate(parts) if part.meta["scenes"]]
    if not steps:
        raise SpecError(f"reads.{job.read}: no scene has a pixel in the area", remedy="choose an area inside of the scenes")
    cube = Cube.of(job, parts[0].unit.payload, [part for _, part in steps], chunk_of_time=read.chunks.time)
    links = write_zarr(cube, steps, folder) if read.format == "zarr" else write_netcdf(cube, [part for _, part in steps], folder)
    (folder / "picture.png").write_bytes(_picture(job, cube, [part for _, part in steps]))
    return Finished(meta=cube.described(), data=cube.file(read.format), picture="picture.png", links=links)


def _picture(job: ReadJob, cube: Cube, parts: Sequence[Part]) -> bytes:
    chosen = [parts[round(at)] for at in np.linspace(0, len(parts) - 1, min(_PANELS, len(parts)))]
    names = colours_of([variable.name for variable in cube.variables])
    panels = [Panel(title=_title(part), layers=panel_layers(cube, part, names)) for part in chosen]
    return quicklook(panels, title=f"{job.name}: {job.read}", pixel=cube.metres)


def _title(part: Part) -> str:
    return (part.meta["time"] or part.meta["label"])[:16].replace("T", " ")


def _read(job: ReadJob) -> StackRead:
    read = job.model
    assert isinstance(read, StackRead)
    return read
