"""One scene on a grid: its bands, its expressions, and what the mask leaves of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rasterloom.access.pixels.gridded import on_grid
from rasterloom.access.pixels.values import BandFile
from rasterloom.access.pixels.warp import Resampling
from rasterloom.access.reads.making import Making, failed
from rasterloom.access.reads.scenes import output_bands
from rasterloom.access.values import Failure
from rasterloom.errors import RasterloomError
from rasterloom.raster.expressions import evaluate
from rasterloom.raster.grid import Grid
from rasterloom.raster.header import Header
from rasterloom.raster.layers import Layer
from rasterloom.raster.masks import MaskRule, kept
from rasterloom.specs.expressions import parse_expression
from rasterloom.specs.reads import ChipsRead, CompositeRead, StackRead


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SceneLayers:
    """What could be read of one scene."""

    layers: dict[str, Layer]
    """Band, then name of an expression -> its pixels on the grid, in the order of the read. One whose files failed is not in it.
    Bands hold what the files hold; expressions are of scaled values."""
    is_covered: bool
    """Whether any band has a valid pixel there, before the mask."""
    failures: tuple[Failure, ...]
    asked: int
    """Files that were to be read."""


def scene_layers(making: Making, scene: str, grid: Grid) -> SceneLayers:
    """Read a scene. A scene whose mask cannot be read has no layers: nothing is left unmasked."""
    read = making.read
    assert isinstance(read, StackRead | CompositeRead | ChipsRead)
    expressions = {name: parse_expression(text) for name, text in (read.expressions or {}).items()}
    bands = output_bands(read, making.bands)
    wanted = tuple(dict.fromkeys((*bands, *(band for each in expressions.values() for band in each.bands))))
    raw, files, failures = _layers(making, scene, wanted, grid, read.resampling)
    masked_by = tuple(dict.fromkeys(each.band for each in read.mask or ()))
    masks, _, unmasked = _layers(making, scene, masked_by, grid, "nearest")
    scaled = {band: _scaled(layer, files[band].header) for band, layer in raw.items()} if expressions else {}
    made = {band: raw[band] for band in bands if band in raw}
    made |= {name: evaluate(each.root, scaled) for name, each in expressions.items() if all(band in scaled for band in each.bands)}
    if unmasked:
        made = {}
    for mask in read.mask or () if made else ():
        stays = kept(MaskRule(band=mask.band, values=mask.values or (), keep=mask.keep, bits=mask.bits or ()), masks[mask.band])
        made = {name: Layer(layer.data, layer.valid & stays) for name, layer in made.items()}
    return SceneLayers(
        layers=made,
        is_covered=any(bool(layer.valid.any()) for layer in raw.values()),
        failures=(*failures, *unmasked),
        asked=len(wanted) + len(masked_by),
    )


def _layers(
    making: Making, scene: str, bands: tuple[str, ...], grid: Grid, resampling: Resampling
) -> tuple[dict[str, Layer], dict[str, BandFile], tuple[Failure, ...]]:
    files: dict[str, BandFile] = {}
    failures: list[Failure] = []
    for band in bands:
        try:
            files[band] = making.file(scene, band)
        except RasterloomError as error:
            failures.append(failed(scene, band, error))
    layers: dict[str, Layer] = {}
    asked = list(files.values())
    for answer in on_grid(making.engine, asked, grid, resampling=resampling):
        file = asked[answer.index]
        if isinstance(answer.read, RasterloomError):
            failures.append(failed(scene, file.band, answer.read, href=file.href))
        else:
            layers[file.band] = Layer(answer.read.data, answer.read.valid)
    return layers, files, tuple(failures)


def _scaled(layer: Layer, header: Header) -> Layer:
    """In the units of the quantity, float64; as it is where the file names no scale."""
    if not header.scales and not header.offsets:
        return layer
    scale, offset = header.scales[0] if header.scales else 1.0, header.offsets[0] if header.offsets else 0.0
    return Layer(layer.data.astype(np.float64) * scale + offset, layer.valid)
