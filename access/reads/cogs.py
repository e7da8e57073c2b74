"""Images that are written square by square, as cloud-optimized GeoTIFFs with overviews."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rasterloom.access.pixels.warp import gdal_crs
from rasterloom.access.reads.layerfiles import TILE
from rasterloom.access.reads.pictures import LONGEST, Panel
from rasterloom.access.workspace.disk import disk_errors
from rasterloom.errors import SpecError
from rasterloom.raster.gdal import load_gdal
from rasterloom.raster.grid import Grid
from rasterloom.raster.layers import Layer
from rasterloom.raster.tiles import Window

_BLOCK = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What an image says of itself."""

    name: str
    """Description of its band."""
    dtype: str
    """numpy name."""
    nodata: float
    """NaN for floats."""
    scale: float = 1.0
    offset: float = 0.0
    """value = stored * scale + offset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Of the valid pixels of an image, as they are stored; None where there is none."""

    valid: int
    pixels: int
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None


def write_cog(path: Path, grid: Grid, facts: ImageFacts, squares: Iterable[tuple[Window, Layer]]) -> Statistics:
    """Write an image of one band; where no square is, and where one is invalid, stands nodata. Holds one square at a time.

    Overviews of floats are means of the valid pixels, of whole numbers the nearest pixel: those may be classes. Raises SpecError where
    a valid pixel holds the nodata.
    """
    load_gdal()
    import rasterio  # noqa: PLC0415
    from rasterio.shutil import copy  # noqa: PLC0415

    counted = _Counted()
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".image-") as scratch, disk_errors(path):
        plain = Path(scratch) / "plain.tif"
        with rasterio.open(plain, "w", **_profile(grid, facts)) as image:
            image.set_band_description(1, facts.name)
            image.scales, image.offsets = (facts.scale,), (facts.offset,)
            for window, layer in squares:
                _check(layer, facts)
                data = np.where(layer.valid, layer.data, facts.nodata).astype(facts.dtype)
                image.write(data, 1, window=((window.row, window.row + window.height), (window.col, window.col + window.width)))
                counted.add(layer)
        is_float = np.dtype(facts.dtype).kind == "f"
        copy(plain, path, driver="COG", compress="DEFLATE", predictor="YES", blocksize=_BLOCK, bigtiff="IF_SAFER",
             overview_resampling="AVERAGE" if is_float else "NEAREST")  # fmt: skip
    return counted.statistics(grid)


def _check(layer: Layer, facts: ImageFacts) -> None:
    """A file with a mask of its own may hold its nodata as a value."""
    if facts.nodata == facts.nodata and (layer.data[layer.valid] == facts.nodata).any():
        raise SpecError(
            f"{facts.name} has valid pixels that hold {facts.nodata:g}, the nodata of its files",
            remedy=f"write expressions: {{{facts.name}: {facts.name}}} in place of bands: floats have NaN for nodata",
        )


def _profile(grid: Grid, facts: ImageFacts) -> dict[str, Any]:
    load_gdal()
    from rasterio.transform import Affine  # noqa: PLC0415

    return {
        "driver": "GTiff",
        "width": grid.width,
        "height": grid.height,
        "count": 1,
        "dtype": facts.dtype,
        "nodata": facts.nodata,
        "crs": gdal_crs(grid.crs),
        "transform": Affine(*grid.affine),
        "tiled": True,
        "blockxsize": TILE,
        "blockysize": TILE,
        # What is never written stands as nodata, and takes no space.
        "sparse_ok": True,
        "compress": "zstd",
        "zstd_level": 1,
        "bigtiff": "IF_SAFER",
    }


class _Counted:
    """Sums over squares."""

    def __init__(self) -> None:
        self._valid, self._total, self._low, self._high = 0, 0.0, math.inf, -math.inf

    def add(self, layer: Layer) -> None:
        values = layer.data[layer.valid]
        if len(values):
            self._valid += len(values)
            self._total += float(values.sum(dtype=np.float64))
            self._low, self._high = min(self._low, float(values.min())), max(self._high, float(values.max()))

    def statistics(self, grid: Grid) -> Statistics:
        pixels = grid.width * grid.height
        if not self._valid:
            return Statistics(valid=0, pixels=pixels)
        return Statistics(valid=self._valid, pixels=pixels, minimum=self._low, maximum=self._high, mean=self._total / self._valid)


def panel_of(title: str, images: Mapping[str, Path]) -> Panel:
    """The images of one period, small: overviews are read where they are enough."""
    load_gdal()
    import rasterio  # noqa: PLC0415

    layers: dict[str, Layer] = {}
    for name, path in images.items():
        with rasterio.open(path) as image:
            step = max(1, math.ceil(max(image.width, image.height) / LONGEST))
            found = image.read(1, out_shape=(math.ceil(image.height / step), math.ceil(image.width / step)), masked=True)
        layers[name] = Layer(found.data, ~np.ma.getmaskarray(found))
    return Panel(title=title, layers=layers)
