"""`composite`: one image per period, made of the valid pixels of its scenes.

A unit is one scene on the grid under its mask, kept in compressed squares; another method or period makes no scene anew. The images are
made square by square: of each scene one square is in memory, however large the grid is.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rasterloom.access.collection import Collection
from rasterloom.access.reads.cogs import ImageFacts, Statistics, panel_of, write_cog
from rasterloom.access.reads.grids import blocks_of, grid_from_json, grid_of_job, grid_to_json
from rasterloom.access.reads.imagefacts import ImagePlan, facts_to_json, image_plans
from rasterloom.access.reads.job import Finished, Made, Part, ReadJob, Unit, unit_key
from rasterloom.access.reads.layerfiles import TILE, LayerFile, LayerWriter, tiles_of
from rasterloom.access.reads.layers import scene_layers
from rasterloom.access.reads.making import Making
from rasterloom.access.reads.orders import orders_of, sorted_by
from rasterloom.access.reads.periods import Period, period_of
from rasterloom.access.reads.pictures import Panel, colours_of, metres_of, quicklook
from rasterloom.access.reads.scenes import output_bands, planned_scenes
from rasterloom.access.reads.stacitems import CATALOG, ImageItem, write_catalog
from rasterloom.access.values import Failure
from rasterloom.errors import SpecError
from rasterloom.raster.composites import composed
from rasterloom.raster.grid import Grid
from rasterloom.raster.layers import Layer
from rasterloom.raster.tiles import Window
from rasterloom.specs.reads import CompositeRead

VERSION = 1
"""Of what a unit holds."""
LAYERS = "layers.zip"
_BLOCK = 8 * TILE
"""Pixels of the edge of what is read of a scene at once."""
_IN_TIME = ("datetime",)


def plan(job: ReadJob, view: Collection) -> list[Unit]:
    """A unit per scene, by time. Raises SpecError where the scenes cannot be put together."""
    read = _read(job)
    scenes = planned_scenes(job, view)
    bands = output_bands(read, view.bands)
    if all(scene.datetime is None for scene in scenes):
        raise SpecError(f"reads.{job.read}: no scene of {job.name} has a time", remedy="make a stack, or give the scenes a datetime")
    grid = grid_of_job(job, view, scenes)
    image_plans(read, bands, [facts_to_json(scene.files) for scene in scenes])
    orders = orders_of(view, read.order_by)
    question = [grid_to_json(grid), list(bands), read.expressions, [each.model_dump() for each in read.mask or ()], read.resampling]
    names = len(bands) + len(read.expressions or {})
    return [
        Unit(
            key=unit_key("layers", VERSION, scene.digest, question, _deciding(read, orders[scene.id])),
            label=scene.id,
            scenes=(scene.id,),
            payload={
                "grid": grid_to_json(grid),
                "bands": list(bands),
                "datetime": scene.datetime.isoformat() if scene.datetime else None,
                "order": orders[scene.id],
                "files": facts_to_json(scene.files),
            },
            pixels=grid.width * grid.height * names,
            held=min(grid.width * grid.height, _BLOCK * _BLOCK) * (names + 4),
        )
        for scene in scenes
    ]


def _read(job: ReadJob) -> CompositeRead:
    read = job.model
    assert isinstance(read, CompositeRead)
    return read


def _deciding(read: CompositeRead, order: Sequence[Any]) -> Any:
    """A property that orders scenes decides the output without being part of any pixel: where it changes, the unit is another."""
    return list(order) if read.method == "first" and read.order_by != _IN_TIME else None


def make(making: Making, unit: Unit, folder: Path) -> Made:
    """One scene on the grid, block by block."""
    failures: dict[tuple[str, str], Failure] = {}
    asked = 0
    with LayerWriter(folder / LAYERS) as writer:
        for block in blocks_of(grid_from_json(unit.payload["grid"]), edge=_BLOCK):
            found = scene_layers(making, unit.scenes[0], block.grid)
            writer.write(block.window, found.layers)
            failures |= {(failure.band, failure.reason): failure for failure in found.failures}
            asked = found.asked
    return Made(failures=tuple(failures.values()), asked=asked)


def finish(job: ReadJob, parts: Sequence[Part], folder: Path) -> Finished:
    """`<period>/<band>.tif`, a STAC catalog of them and a picture."""
    read, payload = _read(job), parts[0].unit.payload
    grid = grid_from_json(payload["grid"])
    plans = image_plans(read, payload["bands"], [part.unit.payload["files"] for part in parts])
    periods = _periods(read, parts)
    items = [(period.label, _item(job, period, members, plans, grid, folder / period.label)) for period, members in periods.items()]
    title = f"{job.name}: {job.read}"
    write_catalog(folder, items, id=f"{job.name}-{job.read}", description=f"{read.method} of {title}", grid=grid, origin=job.collection)
    shown = colours_of([each.facts.name for each in plans])
    panels = [panel_of(item.title, {name: folder / home / _file(name) for name in shown}) for home, item in items]
    words = f"{title}, {read.method}{f' of {panels[0].title}' if len(panels) == 1 else ''}"
    (folder / "picture.png").write_bytes(quicklook(panels, title=words, pixel=_pixel(grid, panels)))
    meta = {
        "crs": grid.crs,
        "shape": [grid.height, grid.width],
        "images": {each.facts.name: each.facts.dtype for each in plans},
        "periods": {home: {"scenes": len(item.scenes), "valid": _share(item.images)} for home, item in items},
        "scenes without a time": len(parts) - sum(len(members) for members in periods.values()),
    }
    return Finished(meta=meta, data=CATALOG, picture="picture.png")


def _periods(read: CompositeRead, parts: Sequence[Part]) -> dict[Period, list[Part]]:
    """The parts of each period, in the order of the read."""
    found: dict[Period, list[Part]] = {}
    for part in sorted_by(read.order_by, parts):
        moment = _moment(part)
        if moment is not None:
            found.setdefault(period_of(moment, read.period, read.dates), []).append(part)
    return dict(sorted(found.items(), key=lambda item: item[0].label))


def _moment(part: Part) -> datetime | None:
    text = part.unit.payload["datetime"]
    return datetime.fromisoformat(text) if text else None


def _item(job: ReadJob, period: Period, parts: Sequence[Part], plans: Sequence[ImagePlan], grid: Grid, home: Path) -> ImageItem:
    home.mkdir()
    files = [LayerFile(part.path(LAYERS)) for part in parts]
    images: dict[str, tuple[ImageFacts, Statistics]] = {}
    for each in plans:
        squares = _squares(grid, _composer(_read(job), each, [file for file in files if each.facts.name in file]))
        images[_file(each.facts.name)] = (each.facts, write_cog(home / _file(each.facts.name), grid, each.facts, squares))
    moments = [moment for part in parts if (moment := _moment(part)) is not None]
    return ImageItem(
        id=f"{job.name}-{job.read}-{period.label}",
        title=period.label if period.start else f"{min(moments):%Y-%m-%d} to {max(moments):%Y-%m-%d}",
        start=period.start or min(moments),
        end=period.end - timedelta(microseconds=1) if period.end else max(moments),
        images=images,
        scenes=tuple(sorted(part.unit.scenes[0] for part, file in zip(parts, files, strict=True) if not file.is_empty)),
    )


def _file(name: str) -> str:
    return f"{name}.tif"


def _composer(read: CompositeRead, plan: ImagePlan, files: Sequence[LayerFile]) -> Callable[[int, int, Window], Layer | None]:
    def compose(row: int, col: int, window: Window) -> Layer | None:
        there = [layer for file in files if (layer := file.tile(plan.facts.name, row, col, window)) is not None]
        return composed(read.method, [Layer(layer.data.astype(plan.layer, copy=False), layer.valid) for layer in there]) if there else None

    return compose


def _squares(grid: Grid, compose: Callable[[int, int, Window], Layer | None]) -> Iterator[tuple[Window, Layer]]:
    """The squares that have a valid pixel, in order, a few of them made ahead."""
    width = os.cpu_count() or 1
    ahead: deque[tuple[Window, Future[Layer | None]]] = deque()
    with ThreadPoolExecutor(width) as pool:
        for row, col, window in tiles_of(width=grid.width, height=grid.height):
            ahead.append((window, pool.submit(compose, row, col, window)))
            if len(ahead) > 2 * width:
                yield from _done(*ahead.popleft())
        while ahead:
            yield from _done(*ahead.popleft())


def _done(window: Window, future: Future[Layer | None]) -> Iterator[tuple[Window, Layer]]:
    layer = future.result()
    if layer is not None:
        yield window, layer


def _pixel(grid: Grid, panels: Sequence[Panel]) -> float | None:
    """Metres of a pixel of the panels, which are smaller than the grid."""
    metres = metres_of(grid)
    seen = max((layer.data.shape[1] for panel in panels for layer in panel.layers.values()), default=grid.width)
    return metres and metres * grid.width / seen


def _share(images: Mapping[str, tuple[ImageFacts, Statistics]]) -> float:
    """Of the pixels that are valid in the image that has most."""
    return round(max((found.valid / found.pixels for _, found in images.values()), default=0.0), 4)
