"""A STAC API, its files and a workspace, for tests of whole builds."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from rasterio.io import MemoryFile
from rasterio.transform import from_origin
from shapely.geometry import box, mapping

from rasterloom.access.build import Job, index_batch, publish, search_shard
from rasterloom.access.refs import from_json, to_json
from rasterloom.access.values import BatchRef, CollectionRef, SearchRef
from rasterloom.specs.effort import Effort
from rasterloom.specs.identity import fingerprint
from rasterloom.specs.question import Band, Box, Interval, Plan, Question, Shard, StacSource
from tests.servers import RangeServer, StacServer

BANDS = ("B04", "B08")
JUNE = datetime(2024, 6, 1, tzinfo=UTC)
JULY, AUGUST = JUNE + timedelta(days=30), JUNE + timedelta(days=61)
NOW = datetime(2025, 1, 1, tzinfo=UTC)


Reference = TypeVar("Reference", SearchRef, BatchRef)


@cache
def cog(seed: int = 0) -> bytes:
    """A small COG with one overview, UTM 33N, 256 x 256 pixels of 10 m."""
    pixels = np.random.default_rng(seed).integers(1, 4000, (256, 256), dtype=np.uint16)
    with MemoryFile() as memory:
        profile = {
            "driver": "COG",
            "blocksize": 128,
            "compress": "deflate",
            "predictor": 2,
            "nodata": 0,
            "crs": "EPSG:32633",
            "dtype": "uint16",
        }
        with memory.open(width=256, height=256, count=1, transform=from_origin(500_000, 5_000_000, 10, 10), **profile) as file:
            file.write(pixels, 1)
        return memory.read()


@dataclass
class World:
    """A STAC API, its files, and a workspace."""

    stac: StacServer
    files: RangeServer
    workspace: Path

    def add(self, number: int, instant: datetime, **properties: Any) -> None:
        paths = {band: f"/{number}/{band}.tif" for band in BANDS}
        self.files.files.update({path: cog(number) for path in paths.values()})
        west = 15.0 + number * 0.001
        self.stac.items.append(
            {
                "type": "Feature",
                "stac_version": "1.0.0",
                "id": f"scene-{number:03d}",
                "collection": "s2",
                "bbox": [west, 45.1, west + 0.05, 45.2],
                "geometry": mapping(box(west, 45.1, west + 0.05, 45.2)),
                "properties": {"datetime": instant.isoformat().replace("+00:00", "Z"), "eo:cloud_cover": number * 10, **properties},
                "assets": {band.lower(): {"href": self.files.url + path, "type": "image/tiff"} for band, path in paths.items()},
                "links": [],
            }
        )

    def question(self, **changes: Any) -> Question:
        asked = Question(
            source=StacSource(url=self.stac.url, collection="s2"),
            bbox=Box(west=14.0, south=44.0, east=16.0, north=46.0),
            intersects=None,
            dates=Interval(start=JUNE, end=AUGUST),
            query=None,
            bands=tuple(Band(code=band, asset=band.lower()) for band in BANDS),
            dedupe=None,
            href="href",
        )
        return replace(asked, **changes)

    def plan(self, *, closed: tuple[bool, bool] = (True, True), **changes: Any) -> Plan:
        asked = self.question(**changes)
        spans = [Interval(start=JUNE, end=JULY), Interval(start=JULY, end=AUGUST)]
        shards = tuple(Shard(index=index, dates=span, cell=None, closed=closed[index]) for index, span in enumerate(spans))
        return Plan(name="s2", question=asked, fingerprint=fingerprint(asked), shards=shards, now=NOW)

    def job(self, run_id: str, *, effort: Effort | None = None, closed: tuple[bool, bool] = (True, True), **changes: Any) -> Job:
        how = effort or Effort(allow_private_hosts=True, retries=0, page_size=4)
        return Job(workspace=str(self.workspace), plan=self.plan(closed=closed, **changes), effort=how, spec={"name": "s2"}, run_id=run_id)

    def run(self, job: Job) -> CollectionRef:
        """As the flow does it, references as JSON between the steps."""
        searches = [through_json(search_shard(job, shard)) for shard in job.plan.shards]
        batches = [through_json(index_batch(job, items, first_range={})) for search in searches for items in search.batches]
        return publish(job, searches, batches)

    def requests(self) -> tuple[int, int]:
        """Search pages and file requests since the last call."""
        counts = len(self.stac.searches), len(self.files.log)
        self.stac.log.clear()
        self.files.log.clear()
        return counts


def through_json(value: Reference) -> Reference:
    return from_json(type(value), json.loads(json.dumps(to_json(value))))
