"""Small files, their headers, and an engine that reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import Affine, from_origin

from rasterloom.access.headers import fetch_headers
from rasterloom.access.pixels.engine import Engine
from rasterloom.access.pixels.values import BandFile
from rasterloom.access.secrets import environment_secrets
from rasterloom.access.shared import shared_stores
from rasterloom.access.values import Asset
from rasterloom.raster.grid import Grid
from rasterloom.raster.header import Header
from rasterloom.specs.effort import Effort

EFFORT = Effort(allow_private_hosts=True, retries=1)
LOCAL = "http://127.0.0.1:1"


def engine() -> Engine:
    return Engine(shared_stores(EFFORT.auth, effort=EFFORT, secrets=environment_secrets, source=LOCAL), effort=EFFORT)


def band_files(paths: Sequence[Path]) -> list[BandFile]:
    stores = shared_stores(EFFORT.auth, effort=EFFORT, secrets=environment_secrets, source=LOCAL)
    assets = [Asset(band="B1", key="b1", href=str(path), band_index=0) for path in paths]
    made: list[BandFile] = []
    for path, header in zip(paths, fetch_headers(assets, stores, effort=EFFORT, first_range={}).results, strict=True):
        assert isinstance(header, Header), header
        made.append(BandFile(scene=path.stem, band="B1", href=str(path), band_index=0, header=header, crs=header.crs or ""))
    return made


def write(path: Path, data: np.ndarray[Any, Any], *, crs: Any = "EPSG:32632", transform: Affine | None = None, **profile: Any) -> Path:
    """A tiled GeoTIFF of one band; `overviews` with their resampling."""
    overviews = profile.pop("overviews", [])
    kind = profile.pop("overview_resampling", rasterio.enums.Resampling.nearest)
    options = {"driver": "GTiff", "tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate", **profile}
    height, width = data.shape
    with rasterio.open(
        path,
        "w",
        width=width,
        height=height,
        count=1,
        dtype=data.dtype,
        crs=crs,
        transform=transform or from_origin(600_000, 5_100_000, 10, 10),
        **options,
    ) as file:
        file.write(data, 1)
        if overviews:
            file.build_overviews(overviews, kind)
    return path


def to_affine(grid: Grid) -> Affine:
    return Affine(*grid.affine)
