"""Small files, their headers, and an engine that reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import Affine, from_origin
from rasterio.warp import transform_bounds

from rasterloom.access.archive.headers import fetch_headers
from rasterloom.access.archive.shared import shared_stores
from rasterloom.access.build import index_batch, publish
from rasterloom.access.cache.staging import write_items
from rasterloom.access.collection import Collection, load
from rasterloom.access.credentials.secrets import environment_secrets
from rasterloom.access.pixels.engine import Engine
from rasterloom.access.pixels.values import BandFile
from rasterloom.access.values import Asset
from rasterloom.access.workspace.place import open_workspace
from rasterloom.raster.grid import Grid
from rasterloom.raster.header import Header
from rasterloom.specs.effort import Effort
from rasterloom.specs.question import Band, StacSource
from tests.access.building import job, question, scene, searched

MODERN_JPEG = rasterio.__gdal_version__ >= "3.11"
"""The wheels of rasterio 1.4 hold another libjpeg, which differs by design."""
EXACT_WARP = rasterio.__version__ >= "1.5"
"""Whether `reproject` knows `tolerance`: rasterio 1.4 always interpolates projections, by up to 0.125 pixels."""
EFFORT = Effort(allow_private_hosts=True, retries=1)
LOCAL = "http://127.0.0.1:1"


def is_other_jpeg(file: Any) -> bool:
    """Whether rasterio decodes this open file otherwise than everybody else."""
    return not MODERN_JPEG and file.profile.get("compress") == "jpeg"


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


def collection_of(folder: Path, scenes: Sequence[dict[str, Path]], *, base: str = "", **changes: Sequence[Any]) -> Collection:
    """A built collection over files: one scene per mapping of bands to files, which a server at `base` may give.

    `changes`: fields of the scenes, one value for each.
    """
    bands = list(dict.fromkeys(band for files in scenes for band in files))
    made = []
    for number, files in enumerate(scenes):
        with rasterio.open(next(iter(files.values()))) as file:
            box = transform_bounds(file.crs, "EPSG:4326", *file.bounds) if file.crs else None
        assets = tuple(
            Asset(band=band, key=band.lower(), href=f"{base}/{path.name}" if base else str(path), band_index=0)
            for band, path in files.items()
        )
        fields = {name: values[number] for name, values in changes.items()}
        made.append(replace(scene(number, bbox=box), assets=assets, **fields))
    asked = question(bands=bands, source=StacSource(url=LOCAL, collection="sentinel-2-l2a"))
    asked = replace(asked, bands=tuple(Band(code=band, asset=band.lower(), index=0) for band in bands))
    work = job(folder / "ws", asked=asked, effort=EFFORT)
    items = write_items(open_workspace(work.workspace), made)
    ref = publish(work, [searched(made)], [index_batch(work, items, first_range={})])
    return load(ref.uri, effort=EFFORT)
