"""An archive that lives: scenes that come, change and go, and builds of it through the plain functions, every request counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
from shapely.geometry import box, mapping

from rasterloom.access.build import index_batch, publish, search_shard
from rasterloom.access.building.decide import Decision, decide
from rasterloom.access.building.derive import derive
from rasterloom.access.building.job import Job
from rasterloom.access.values import CollectionRef
from rasterloom.access.versions.opening import open_collection
from rasterloom.access.workspace.place import open_workspace
from rasterloom.demo.cog import Grid, cog_bytes
from rasterloom.specs.loader import spec_from
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.plan import make_plan
from rasterloom.specs.resolve import effort
from tests.servers import RangeServer, StacServer

BANDS = ("B02", "B03", "B04")
EPSGS = (32632, 32633, 32733)


@cache
def cog(seed: int, epsg: int) -> bytes:
    """Of every seed another size: tile tables differ."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 2 + seed % 97, (96, 96), dtype=np.uint16)
    return cog_bytes(pixels, Grid(epsg=epsg, west=500_000.0, north=5_000_000.0, pixel=10.0), tile=32)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@dataclass(slots=True)
class Upstream:
    """A STAC API and its files. Scenes are numbered: the number decides place, properties and CRS, its edition the bytes."""

    stac: StacServer
    files: RangeServer
    editions: dict[int, int] = field(default_factory=dict[int, int])
    instants: dict[int, datetime] = field(default_factory=dict[int, datetime])

    def put(self, number: int, at: datetime) -> None:
        """Add a scene, or bring out a new edition of one: later `updated`, other bytes behind the same hrefs."""
        edition = self.editions[number] = self.editions.get(number, 0) + 1
        self.instants[number] = at
        paths = {band: f"/{number}/{band}.tif" for band in BANDS}
        for place, (band, path) in enumerate(paths.items()):
            if (number, band) not in LOST:
                self.files.files[path] = cog(
                    number + 1000 * edition + place, EPSGS[(number + place) % 3 if number % 4 == 0 else number % 3]
                )
        self.remove(number)
        self.stac.items.append(self._item(number, edition, at, paths))
        self.stac.items.sort(key=lambda item: item["id"])

    def remove(self, number: int) -> None:
        self.stac.items[:] = [item for item in self.stac.items if item["id"] != name(number)]

    def _item(self, number: int, edition: int, at: datetime, paths: dict[str, str]) -> dict[str, Any]:
        west, south = place_of(number)
        footprint = box(west, south, west + 0.5, south + 0.5)
        assets: dict[str, dict[str, Any]] = {
            band.lower(): {"href": self.files.url + path, "type": "image/tiff"} for band, path in paths.items()
        }
        if number % 7 == 3:
            del assets["b03"]
        if number % 6 == 0:
            assets = {key: {**asset, "proj:epsg": 32700 + place} for place, (key, asset) in enumerate(assets.items())}
        return {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": name(number),
            "collection": "s2",
            "bbox": list(footprint.bounds),
            "geometry": mapping(footprint),
            "properties": {"datetime": text(at), "updated": f"2024-01-01T00:00:{edition:02d}Z", **properties(number, edition)},
            "assets": assets,
            "links": [],
        }

    def requests(self) -> tuple[int, int]:
        """Search pages and file requests since the last call."""
        counts = len(self.stac.searches), len(self.files.log)
        self.stac.log.clear()
        self.files.log.clear()
        return counts

    def spec(self, **changes: Any) -> CollectionSpec:
        """Absent keys are left out with `...`."""
        whole: dict[str, Any] = {
            "name": "s2",
            "stac": {"url": self.stac.url, "collection": "s2", "page_size": 5},
            "bbox": [9.0, 40.0, 19.0, 50.0],
            "dates": ["2024-06-01", "2024-08-31"],
            "band_map": {band: band.lower() for band in BANDS},
            "split": {"time": "P1M"},
            "refresh": {"deleted": "drop", "lookback": "P10D"},
            "build": {"retries": 0, "max_error_rate": 0.5},
        }
        return spec_from({key: value for key, value in {**whole, **changes}.items() if value is not ...})


LOST = {(5, "B02"), (12, "B04")}
"""Files that do not exist although items name them."""


def name(number: int) -> str:
    return f"scene-{number:04d}"


def text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def place_of(number: int) -> tuple[float, float]:
    """West and south of a footprint, on a lattice whose cells touch."""
    return 10.0 + number * 3 % 16 * 0.5, 41.0 + number * 5 % 16 * 0.5


def properties(number: int, edition: int) -> dict[str, Any]:
    """What catalogs really mix: whole and broken numbers, null and absent, members that come and go, kinds that disagree."""
    made: dict[str, Any] = {"eo:cloud_cover": number * 7 % 50 if number % 3 else number * 7 % 50 + 0.5, "platform": "ab"[number % 2]}
    if number % 4 == 1:
        made["view"] = {"sun": number, **({"off": None} if number % 8 == 1 else {})}
    if number % 5 < 2:
        made["note"] = None if number % 5 else f"edition {edition}"
    if number % 6 == 0:
        made["mixed"] = number if number % 12 else "twelve"
    if number % 3 == 1:
        made["proj:epsg"] = 32600 + number
    return made


@contextmanager
def upstream() -> Iterator[Upstream]:
    with StacServer() as stac, RangeServer({}) as files:
        yield Upstream(stac, files)


@dataclass(frozen=True, slots=True)
class Built:
    """One run: what was decided, and what stands then."""

    decision: Decision
    ref: CollectionRef

    @property
    def table(self) -> pa.Table:
        return table_of(self.ref)


def planned(spec: CollectionSpec, workspace: Path, now: datetime) -> Decision:
    return decide(make_plan(spec, now=now), open_workspace(str(workspace)), force=effort(spec).force)


class Killed(Exception):
    """The run ended between two of its steps."""


def build(spec: CollectionSpec, workspace: Path, now: datetime, *, steps: int | None = None) -> Built:
    """As the flow does it. After so many `steps` (searches, batches, the publication) the run is abandoned: Killed."""
    decision = planned(spec, workspace, now)
    if decision.action == "reuse" and decision.ref is not None:
        return Built(decision, decision.ref)
    job = job_of(spec, workspace, now, action=decision.action)
    left = iter(range(steps)) if steps is not None else None

    def step() -> None:
        if left is not None and next(left, None) is None:
            raise Killed

    step()
    derived = derive(job) if decision.action == "derive" else None
    if derived is not None:
        return Built(decision, derived)
    searches, batches = [], []
    for shard in job.plan.shards:
        step()
        searches.append(search_shard(job, shard))
    for items in [items for search in searches for items in search.batches]:
        step()
        batches.append(index_batch(job, items))
    step()
    return Built(decision, publish(job, searches, batches))


def job_of(spec: CollectionSpec, workspace: Path, now: datetime, *, action: str = "build") -> Job:
    return Job(
        workspace=str(workspace),
        plan=make_plan(spec, now=now),
        effort=effort(spec),
        spec=spec.model_dump(mode="json", exclude_none=True),
        run_id=f"run-{uuid4().hex[:12]}",
        action=action,
    )


def table_of(ref: CollectionRef) -> pa.Table:
    """All columns, hive columns too, in the order of the ids."""
    return open_collection(ref.uri).dataset.to_table().sort_by("id")


def assert_same(ours: pa.Table, fresh: pa.Table) -> None:
    """Row for row: types of all columns, and every value, tables of byte ranges included."""
    assert ours.schema.remove_metadata() == fresh.schema.remove_metadata()
    assert ours["id"].to_pylist() == fresh["id"].to_pylist()
    for column in fresh.column_names:
        assert ours[column].to_pylist() == fresh[column].to_pylist(), column
