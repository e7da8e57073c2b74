"""Small scenes of real files, a collection of them, and read jobs over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio
import shapely
from rasterio.transform import from_origin

from rasterloom.access.archive.headers import fetch_headers
from rasterloom.access.archive.shared import shared_stores
from rasterloom.access.building.publish import publish
from rasterloom.access.cache.records import assemble
from rasterloom.access.cache.staging import write_batch, write_items
from rasterloom.access.credentials.secrets import environment_secrets
from rasterloom.access.reads.job import ReadJob
from rasterloom.access.reads.outputs import OutputRef
from rasterloom.access.reads.run import finish_read, make_units, plan_read
from rasterloom.access.values import Asset, BatchRef, Scene, Traffic
from rasterloom.access.versions.opening import open_collection
from rasterloom.access.workspace.place import open_workspace
from rasterloom.raster.header import Header
from rasterloom.specs.effort import Effort
from rasterloom.specs.question import StacSource
from rasterloom.specs.reads import read_from, read_to_json
from tests.access.building import job, question, searched

EFFORT = Effort(allow_private_hosts=True, retries=1)
LOCAL = "http://127.0.0.1:1"
WEST, NORTH, PIXEL = 500_000.0, 5_100_000.0, 10.0


@dataclass
class Imagery:
    """Scenes as files below `folder`, and the collection `s2` of them in `workspace`."""

    folder: Path
    workspace: Path
    scenes: list[Scene] = field(default_factory=list)
    base: str = ""
    """URL that serves `folder`; empty: paths."""

    def add(
        self,
        name: str,
        when: str,
        bands: Mapping[str, np.ndarray[Any, Any]],
        *,
        west: float = WEST,
        north: float = NORTH,
        crs: str = "EPSG:32632",
        nodata: float | None = 0,
        cloud: float = 0.0,
        pixel: Mapping[str, float] | None = None,
        scale: tuple[float, float] | None = None,
    ) -> None:
        """A file per band; `pixel` in metres per band, default 10."""
        (self.folder / name).mkdir(parents=True)
        boxes: list[tuple[float, ...]] = []
        for band, data in bands.items():
            size = (pixel or {}).get(band, PIXEL)
            profile = {"driver": "GTiff", "tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate", "dtype": data.dtype}
            place = from_origin(west, north, size, size)
            shape = {"width": data.shape[1], "height": data.shape[0], "count": 1}
            with rasterio.open(self.path(name, band), "w", **profile, **shape, crs=crs, transform=place, nodata=nodata) as file:
                file.write(data, 1)
                if scale:
                    file.scales, file.offsets = (scale[0],), (scale[1],)
            boxes.append((west, north - data.shape[0] * size, west + data.shape[1] * size, north))
        to_degrees = pyproj.Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
        bounds = to_degrees.transform_bounds(*boxes[0])
        self.scenes.append(
            Scene(
                id=name,
                collection="sentinel-2-l2a",
                datetime=datetime.fromisoformat(when).replace(tzinfo=UTC),
                geometry=shapely.to_wkb(shapely.box(*bounds)),
                bbox=bounds,
                properties={"eo:cloud_cover": cloud},
                assets=tuple(Asset(band=band, key=band.lower(), href=self.href(name, band), band_index=0) for band in bands),
            )
        )

    def path(self, name: str, band: str) -> Path:
        return self.folder / name / f"{band}.tif"

    def href(self, name: str, band: str) -> str:
        return f"{self.base}/{name}/{band}.tif" if self.base else str(self.path(name, band))

    def build(self, run_id: str = "run-1") -> None:
        """Bring the collection to the scenes that there are."""
        bands = list(dict.fromkeys(asset.band for scene in self.scenes for asset in scene.assets))
        source = StacSource(url=self.base or LOCAL, collection="sentinel-2-l2a")
        made = job(self.workspace, run_id=run_id, asked=question(bands, source=source))
        workspace = open_workspace(made.workspace)
        stores = shared_stores(EFFORT.auth, effort=EFFORT, secrets=environment_secrets, source=self.base or LOCAL)
        assets = [(row, asset) for row, scene in enumerate(self.scenes) for asset in scene.assets]
        fetched = fetch_headers([asset for _, asset in assets], stores, effort=EFFORT, first_range={}).results
        headers = {(row, asset.band): found for (row, asset), found in zip(assets, fetched, strict=True) if isinstance(found, Header)}
        assert len(headers) == len(assets), fetched
        draft = BatchRef(uri="", sha256="", rows=len(self.scenes), headers=len(headers), failures=(), traffic=Traffic())
        batch = write_batch(workspace, write_items(workspace, self.scenes), assemble(self.scenes, headers, bands), draft)
        publish(made, [searched(self.scenes)], [batch])

    def job(self, spec: Mapping[str, Any], *, name: str = "a", run_id: str = "read-1", effort: Effort = EFFORT) -> ReadJob:
        opened = open_collection(str(self.workspace / "s2"))
        return ReadJob(
            workspace=str(self.workspace),
            name="s2",
            read=name,
            spec=read_to_json(read_from(spec)),
            collection=opened.uri,
            snapshot=Path(opened.uri).name,
            effort=effort,
            run_id=run_id,
        )

    def output(self, ref: OutputRef) -> Path:
        return Path(ref.uri)


@dataclass(frozen=True)
class Ran:
    """What one run of a read did."""

    ref: OutputRef
    made: int
    traffic: Traffic


def run_read(made: ReadJob) -> Ran:
    """Plan, make and finish, without Prefect."""
    planned = plan_read(made)
    done = make_units(made, planned.missing) if planned.missing else None
    traffic = done.traffic if done else Traffic()
    return Ran(finish_read(made, planned.units, made=done.made if done else 0, traffic=traffic), done.made if done else 0, traffic)
