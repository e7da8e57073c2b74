"""Chips as files: one GeoTIFF each, all of them as one Zarr array, and the manifest that tells what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from rasterloom.access.pixels.warp import gdal_crs
from rasterloom.access.reads.stacitems import outline_of
from rasterloom.access.workspace.disk import disk_errors
from rasterloom.raster.gdal import load_gdal
from rasterloom.raster.grid import Grid
from rasterloom.raster.layers import Layer
from rasterloom.raster.tiles import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A row of the manifest."""

    index: int
    """0-based place in the manifest, and in the array."""
    scene: str
    datetime: str | None
    """ISO, UTC."""
    window: Window
    """In pixels of the grid of the job."""
    grid: Grid
    """Of the chip alone."""
    valid: float
    """Share of the pixels that are valid in every band."""
    path: str
    """Relative to the manifest."""
    part: int
    """Place of its scene in the plan."""

    @property
    def id(self) -> str:
        return f"{self.scene}_{self.window.row:05d}_{self.window.col:05d}"


def write_chip(path: Path, grid: Grid, layers: Mapping[str, Layer]) -> str:
    """A band per layer; pixels that are not valid in all of them are 0 and masked by the file's own mask. Returns the dtype."""
    load_gdal()
    import rasterio  # noqa: PLC0415
    from rasterio.transform import Affine  # noqa: PLC0415

    valid = np.logical_and.reduce([layer.valid for layer in layers.values()])
    dtype = np.result_type(*(np.uint8 if layer.data.dtype == np.bool_ else layer.data.dtype for layer in layers.values()))
    dtype = np.dtype(np.float32) if dtype == np.float16 else dtype
    data = np.stack([np.where(valid, layer.data, 0).astype(dtype) for layer in layers.values()])
    profile: dict[str, Any] = {"driver": "GTiff", "width": grid.width, "height": grid.height, "count": len(data), "dtype": dtype.name}
    profile |= {"compress": "deflate", "predictor": 3 if dtype.kind == "f" else 2 if dtype.kind in "iu" else 1, "interleave": "band"}
    profile |= {"crs": gdal_crs(grid.crs), "transform": Affine(*grid.affine)}
    with disk_errors(path), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **profile) as file:
        file.write(data)
        file.descriptions = tuple(layers)
        if not valid.all():
            file.write_mask(valid)
    return dtype.name


def chip_layers(path: Path, names: Sequence[str]) -> dict[str, Layer]:
    """Some bands of a chip."""
    load_gdal()
    import rasterio  # noqa: PLC0415

    with rasterio.open(path) as file:
        valid = file.dataset_mask() > 0
        return {name: Layer(file.read(file.descriptions.index(name) + 1), valid) for name in names}


def write_manifest(path: Path, chips: Sequence[Chip], grid: Grid) -> None:
    """GeoParquet: a row per chip, its outline in longitude and latitude."""
    import geopandas  # noqa: PLC0415  # half a second to load

    columns = {
        "chip": [chip.id for chip in chips],
        "scene": [chip.scene for chip in chips],
        "datetime": np.array([datetime.fromisoformat(chip.datetime) if chip.datetime else None for chip in chips], "datetime64[us]"),
        "row": np.array([chip.window.row for chip in chips], np.int32),
        "col": np.array([chip.window.col for chip in chips], np.int32),
        "valid": [chip.valid for chip in chips],
        "path": [chip.path for chip in chips],
        "index": np.array([chip.index for chip in chips], np.int64),
        "crs": [grid.crs] * len(chips),
        "affine": [list(chip.grid.affine) for chip in chips],
    }
    # Every scene has the same windows.
    outlines = {window: outline_of(grid) for window, grid in {chip.window: chip.grid for chip in chips}.items()}
    frame = geopandas.GeoDataFrame(columns, geometry=[outlines[chip.window] for chip in chips], crs="OGC:CRS84")
    frame.to_parquet(path, index=False, compression="zstd", write_covering_bbox=True)


def write_zarr(path: Path, chips: Sequence[Chip], files: Sequence[Path], *, names: Sequence[str], dtype: np.dtype[Any]) -> None:
    """Arrays `chips` (chip, band, y, x) and `valid` (chip, y, x), one chunk per chip, and the bands and ids beside them."""
    load_gdal()
    import rasterio  # noqa: PLC0415
    import zarr  # noqa: PLC0415

    size = chips[0].window.height
    # Version 2, as stacks are: zarr 2 and 3, xarray and GDAL open it.
    group = zarr.open_group(path, mode="w", zarr_format=2)
    shape, chunks = (len(chips), len(names), size, size), (1, len(names), size, size)
    # Without a fill value: xarray would take every 0 for one.
    array = group.create_array("chips", shape=shape, chunks=chunks, dtype=dtype, fill_value=None)
    array.attrs["_ARRAY_DIMENSIONS"] = ["chip", "band", "y", "x"]
    valid = group.create_array("valid", shape=(len(chips), size, size), chunks=(1, size, size), dtype=bool, fill_value=None)
    valid.attrs["_ARRAY_DIMENSIONS"] = ["chip", "y", "x"]
    for number, file in enumerate(files):
        with rasterio.open(file) as chip:
            array[number] = chip.read().astype(dtype, copy=False)
            valid[number] = chip.dataset_mask() > 0
    group.attrs["bands"] = list(names)
    zarr.consolidate_metadata(str(path), zarr_format=2)
