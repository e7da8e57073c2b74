"""Real items of many providers over the real COGs that they describe: the right scenes, and GDAL's headers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import shapely.geometry

from rasterloom.flows.run import run
from tests.acceptance.conftest import Publish
from tests.acceptance.oracle import differences, gdal_header
from tests.servers import RangeServer

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.shared]
SOURCES = [
    ("s2a_29rkh_paired.json", "sentinel-2-l2a"),
    ("landsatlook_a.json", "landsat-c2l2-sr"),
    ("esa-worldcover_paired.json", "esa-worldcover"),
    ("usgs-lcmap_paired.json", "usgs-lcmap-conus-v13"),
    ("usda-cdl_paired.json", "usda-cdl"),
    ("noaa-emergency_paired.json", "noaa-emergency-response"),
]


@dataclass(frozen=True)
class Stand:
    """Items as the catalog gave them, hrefs moved to the range server; those without a file there are missing from it."""

    folder: Path
    items: list[dict[str, Any]]
    pairs: dict[tuple[str, str], str]
    """(item id, asset key) -> path of the COG in `folder`."""

    def described(self) -> dict[str, Any]:
        """The item whose files are all there."""
        return next(item for item in self.items if any(item["id"] == name for name, _ in self.pairs))

    def bands(self) -> dict[str, str]:
        """Band codes of our own for the paired assets: real asset keys such as `SR_B4.TIF` are no codes."""
        keys = sorted(asset for name, asset in self.pairs if name == self.described()["id"])
        return {f"X{number}": key for number, key in enumerate(keys, 1)}


@cache
def _pairs(data: Path) -> list[dict[str, Any]]:
    return json.loads((data / "stac" / "pairs.json").read_text())


@pytest.fixture
def files(shared: Path) -> Iterator[RangeServer]:
    with RangeServer(shared / "data" / "cogs") as server:
        yield server


@pytest.fixture(params=SOURCES, ids=[name for _, name in SOURCES])
def stand(request: pytest.FixtureRequest, shared: Path, files: RangeServer) -> Stand:
    document, collection = request.param
    data = shared / "data"
    items = [i for i in json.loads((data / "stac" / document).read_text())["features"] if i.get("collection") == collection]
    pairs = {(p["item"], p["asset"]): p["cog"] for p in _pairs(data) if p["items"] == document}
    for item in items:
        for key, asset in item["assets"].items():
            asset["href"] = f"{files.url}/{pairs.get((item['id'], key), 'missing.tif')}"
    return Stand(data / "cogs", items, pairs)


def span(item: dict[str, Any]) -> tuple[datetime, datetime]:
    properties = item["properties"]
    first = properties.get("start_datetime") or properties["datetime"]
    last = properties.get("end_datetime") or properties["datetime"]
    read = [datetime.fromisoformat(text) for text in (first, last)]
    begin, end = (moment if moment.tzinfo else moment.replace(tzinfo=UTC) for moment in read)
    return begin, end


def answering(items: list[dict[str, Any]], bbox: list[float], first: datetime, end: datetime) -> set[str]:
    """Ids of the items that meet the box and the half-open time, by the words of the STAC specification alone."""
    area = shapely.geometry.box(*bbox)
    near = [item for item in items if shapely.geometry.shape(item["geometry"]).intersects(area)]
    return {item["id"] for item in near if span(item)[0] < end and span(item)[1] >= first}


def test_the_right_scenes_with_the_headers_that_gdal_reads(stand: Stand, publish: Publish, tmp_path: Path) -> None:
    target = stand.described()
    begin, last = span(target)
    bbox = list(shapely.geometry.shape(target["geometry"]).bounds)
    spec = {
        "version": 1,
        "name": "real",
        "stac": {"url": publish(stand.items), "collection": target["collection"]},
        "bbox": bbox,
        "dates": [begin.date().isoformat(), last.date().isoformat()],
        "band_map": stand.bands(),
        "build": {"max_error_rate": 1.0},
    }
    collection = run(spec, workspace=str(tmp_path))
    rows = {row["id"]: row for row in collection.to_table().to_pylist()}
    midnight = {"hour": 0, "minute": 0, "second": 0, "microsecond": 0}
    end = last.replace(**midnight) + timedelta(days=1)
    assert len(collection) == len(rows)
    assert set(rows) == answering(stand.items, bbox, begin.replace(**midnight), end)
    wrong = {
        (target["id"], key): differences(rows[target["id"]], band, gdal_header(str(stand.folder / stand.pairs[target["id"], key])))
        for band, key in stand.bands().items()
    }
    assert not {where: what for where, what in wrong.items() if what}
