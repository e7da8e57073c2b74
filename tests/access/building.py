"""Scenes, headers and jobs for the tests of the storage side: made up, but with tile tables like those of real files."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from rasterloom.access.building.job import Job
from rasterloom.access.cache.records import assemble
from rasterloom.access.cache.staging import write_batch, write_items
from rasterloom.access.values import Asset, BatchRef, Failure, Scene, SearchRef, Traffic
from rasterloom.access.workspace.files import Workspace
from rasterloom.access.workspace.place import open_workspace
from rasterloom.raster.header import Header, Level
from rasterloom.raster.properties import summarise
from rasterloom.specs.effort import Effort
from rasterloom.specs.identity import fingerprint
from rasterloom.specs.question import Band, Box, Interval, Plan, Question, Shard, StacSource

START = datetime(2024, 6, 1, tzinfo=UTC)
BANDS = ("B02", "B03", "B04", "B08")
ANYWHERE = Box(west=-180.0, south=-90.0, east=180.0, north=90.0)


def question(bands: Sequence[str] = BANDS, **changes: Any) -> Question:
    asked = Question(
        source=StacSource(url="https://stac.example.org", collection="sentinel-2-l2a"),
        bbox=ANYWHERE,
        intersects=None,
        dates=Interval(start=START, end=START + timedelta(days=61)),
        query=None,
        bands=tuple(Band(code=band, asset=band.lower()) for band in bands),
        dedupe=None,
        href="href",
    )
    return replace(asked, **changes)


def job(
    workspace: Path | str, *, asked: Question | None = None, effort: Effort | None = None, run_id: str = "run-1", closed: bool = True
) -> Job:
    asked = asked or question()
    shard = Shard(index=0, dates=asked.dates, cell=None, closed=closed)
    plan = Plan(name="s2", question=asked, fingerprint=fingerprint(asked), shards=(shard,), now=START + timedelta(days=90))
    return Job(workspace=str(workspace), plan=plan, effort=effort or Effort(), spec={"name": "s2", "dataset": "es/s2"}, run_id=run_id)


def scene(number: int, *, bands: Sequence[str] = BANDS, bbox: tuple[float, float, float, float] | None = None, **changes: Any) -> Scene:
    rng = random.Random(number)
    west, south = rng.uniform(-170, 169), rng.uniform(-60, 60)
    box = bbox or (west, south, west + 1.1, south + 1.0)
    name = f"S2A_{10 + number % 50}TQK_{number:06d}_0_L2A"
    made = Scene(
        id=name,
        collection="sentinel-2-l2a",
        datetime=START + timedelta(minutes=7 * number, microseconds=250_000),
        geometry=shapely.to_wkb(shapely.box(*box)),
        bbox=box,
        properties={
            "eo:cloud_cover": round(rng.uniform(0, 100), 6),
            "platform": f"sentinel-2{'ab'[number % 2]}",
            "grid:code": f"MGRS-{number % 60}TQK",
        },
        assets=tuple(
            Asset(band=band, key=band.lower(), href=f"https://data.example.org/{name}/{band}.tif", band_index=0) for band in bands
        ),
        updated=f"2024-07-01T00:00:{number % 60:02d}Z",
    )
    return replace(made, **changes)


def level(rng: np.random.Generator, width: int, tile: int, start: int) -> Level:
    """Tile tables as GDAL's COG driver writes them: a leader and a trailer of 4 bytes around each tile."""
    across = -(-width // tile)
    full = across * across
    counts = np.where(rng.random(full) < 0.15, rng.integers(600, 30_000, full), rng.normal(1_400_000, 350_000, full).clip(9_000)).astype(
        np.int64
    )
    offsets = start + np.concatenate([[0], np.cumsum(counts + 8)[:-1]])
    return Level(
        width=width,
        height=width,
        tile_width=tile,
        tile_height=tile,
        tile_offsets=offsets.astype(np.int64),
        tile_byte_counts=counts,
        compression=8,
        predictor=2,
    )


def header(seed: int, *, width: int = 10_980, tile: int = 1024, epsg: int = 32610, **changes: Any) -> Header:
    rng = np.random.default_rng(seed)
    small = [level(rng, width // 2**step, tile // 2, 4_000) for step in (1, 2, 3, 4)]
    end = int(small[0].tile_offsets[-1] + small[0].tile_byte_counts[-1])
    made = Header(
        full=level(rng, width, tile, end),
        overviews=tuple(small),
        mask=None,
        overview_masks=(),
        byte_order="<",
        bigtiff=False,
        dtype="uint16",
        bits_per_sample=16,
        sample_format=1,
        samples_per_pixel=1,
        planar_configuration=1,
        photometric=1,
        extra_samples=None,
        transform=(10.0, 0.0, 399_960.0, 0.0, -10.0, 4_200_000.0),
        pixel_scale=(10.0, 10.0, 0.0),
        tiepoint=(0.0, 0.0, 0.0, 399_960.0, 4_200_000.0, 0.0),
        epsg=epsg,
        crs=f"EPSG:{epsg}",
        nodata=0.0,
        scales=None,
        offsets=None,
        jpeg_tables=None,
        lerc_parameters=None,
        ycbcr_subsampling=None,
        header_end=3_000,
        etag=hashlib.md5(str(seed).encode()).hexdigest(),
        size=200_000_000 + seed,
    )
    return replace(made, **changes)


def headers(scenes: Sequence[Scene], *, seed: int = 0, **changes: Any) -> dict[tuple[int, str], Header]:
    """One header for every asset."""
    return {
        (row, asset.band): header(seed + 100 * row + number, **changes)
        for row, one in enumerate(scenes)
        for number, asset in enumerate(one.assets)
    }


def staged(
    workspace: Workspace, scenes: Sequence[Scene], *, batch: int = 150, failures: Sequence[Failure] = (), **changes: Any
) -> list[BatchRef]:
    """Batches in the cache of a workspace, as `index_batch` leaves them."""
    refs: list[BatchRef] = []
    bands = list(dict.fromkeys(asset.band for one in scenes for asset in one.assets))
    for start in range(0, len(scenes), batch):
        part = scenes[start : start + batch]
        found = headers(part, seed=1_000_003 * start, **changes)
        draft = BatchRef(
            uri="", sha256="", rows=len(part), headers=len(found), failures=tuple(failures) if start == 0 else (), traffic=Traffic()
        )
        refs.append(write_batch(workspace, write_items(workspace, part), assemble(part, found, bands), draft))
    return refs


def searched(scenes: Sequence[Scene], **changes: Any) -> SearchRef:
    found = SearchRef(
        uri="/nowhere",
        batches=(),
        matched=len(scenes),
        received=len(scenes),
        kept=len(scenes),
        disagreeing=0,
        duplicates=0,
        failures=(),
        types=summarise(one.properties for one in scenes),
        traffic=Traffic(requests=1, bytes=1000),
    )
    return replace(found, **changes)


def opened(made: Job) -> Workspace:
    return open_workspace(made.workspace)
