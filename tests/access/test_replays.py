"""Items and exchanges that were recorded from real services (`../shared/data/stac`), with the catalog's own band maps and quirks.

The expected hrefs are read from the recorded JSON by the rule that the entry names; the counts and hosts were checked by eye.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from rasterloom.access.collection import load
from rasterloom.access.credentials.secrets import environment_secrets
from rasterloom.access.items.pages import Page
from rasterloom.access.items.scene import answers, scene_of
from rasterloom.access.network.http import Ask, NotThere, Web
from rasterloom.access.sources.stac import search, search_ids
from rasterloom.errors import SpecError
from rasterloom.specs.loader import spec_from
from rasterloom.specs.question import Band, Box, Interval, Question, StacSource
from rasterloom.specs.resolve import effort, resolve
from tests.access.questions import question, shard
from tests.access.world import AUGUST, JUNE, World, cog
from tests.replay import ReplayServer
from tests.servers import RangeServer, StacServer

pytestmark = pytest.mark.shared


@dataclass(frozen=True)
class Recorded:
    entry: str
    document: str
    items: int
    hosts: frozenset[str]
    missing: Mapping[str, int]
    """Band code -> items without its asset."""
    crs: frozenset[str]
    """What the items say; an empty text where they say nothing and the headers decide."""
    formerly: str = ""
    """The id that the collection had when it was recorded, where that is another one."""


def recorded(entry: str, document: str, items: int, hosts: str, crs: str, *, formerly: str = "", **missing: int) -> Recorded:
    return Recorded(entry, document, items, frozenset(hosts.split()), missing, frozenset(crs.split(" ")), formerly)


TM = dict.fromkeys(("B2", "B3", "B4", "B5", "B6", "B7", "QA_PIXEL", "QA_RADSAT"), 4)
CROPS = dict.fromkeys(("CDL", "CONFIDENCE", "CORN", "COTTON", "CULTIVATED", "SOYBEANS", "WHEAT"), 8)
RECORDED = [
    recorded("earthsearch/sentinel-2-l2a", "earthsearch-v1_sentinel-2-l2a", 8, "https://sentinel-cogs.s3.us-west-2.amazonaws.com",
             "EPSG:32720 EPSG:32724 EPSG:32613 EPSG:32630"),
    recorded("earthsearch/sentinel-2-c1-l2a", "earthsearch-v1_sentinel-2-c1-l2a", 6,
             "https://e84-earth-search-sentinel-data.s3.us-west-2.amazonaws.com", "EPSG:32720 EPSG:32724"),
    recorded("earthsearch/cop-dem-glo-30", "earthsearch-v1_cop-dem-glo-30", 10, "s3://copernicus-dem-30m", "EPSG:4326"),
    recorded("earthsearch/landsat-c2-l2", "earthsearch-v1_misc", 1, "s3://usgs-landsat", "EPSG:32613", ST_TM_ETM=1),
    recorded("pc/sentinel-2-l2a", "pc_sentinel-2-l2a", 33, "https://sentinel2l2a01.blob.core.windows.net",
             "EPSG:32658 EPSG:32659 EPSG:32660"),
    recorded("pc/naip", "pc_naip", 60, "https://naipeuwest.blob.core.windows.net", "EPSG:26911 EPSG:26912"),
    recorded("pc/landsat-c2-l2", "pc_one_per_collection_a", 3, "https://landsateuwest.blob.core.windows.net", "EPSG:32630 EPSG:32655",
             ST_TM_ETM=3),
    recorded("pc/sentinel-1-rtc", "pc_one_per_collection_a", 3, "https://sentinel1euwestrtc.blob.core.windows.net", "EPSG:32633 EPSG:32634",
             HH=3, HV=3),
    recorded("pc/cop-dem-glo-30", "pc_one_per_collection_a", 2, "https://elevationeuwest.blob.core.windows.net", "EPSG:4326"),
    recorded("pc/io-lulc-annual-v02", "pc_one_per_collection_a", 2, "https://ai4edataeuwest.blob.core.windows.net", "EPSG:32660"),
    recorded("pc/nasadem", "pc_one_per_collection_a", 1, "https://nasademeuwest.blob.core.windows.net", "EPSG:4326"),
    recorded("pc/usda-cdl", "usda-cdl_paired", 12, "https://planetarycomputer.microsoft.com", "EPSG:5070", **CROPS),
    recorded("cmr/hls-l30", "cmr_hlsl30_v1.5", 10, "https://lpdaac.earthdata.nasa.gov", "", formerly="HLSL30.v1.5"),
    recorded("usgs/landsat-c2l2-sr", "landsatlook_a", 5, "s3://usgs-landsat", " EPSG:32617", B1=5, **TM),
    recorded("usgs/landsat-c2l2-st", "landsatlook_a", 1, "s3://usgs-landsat", "EPSG:32622", ST=1),
    recorded("dea/ga_s2am_ard_3", "dea_deafrica", 1, "s3://dea-public-data", "EPSG:32749"),
    recorded("deafrica/s2_l2a_c1", "dea_deafrica", 1, "s3://deafrica-sentinel-2-l2a-c1-dev", "EPSG:32737"),
]  # fmt: skip


def items_of(shared: Path, record: Recorded) -> list[dict[str, Any]]:
    """The recorded items under the id that the collection has today."""
    wanted = resolve(spec_from({"name": "x", "dataset": record.entry})).source.collection
    features = json.loads((shared / "data" / "stac" / f"{record.document}.json").read_text())["features"]
    return [item | {"collection": wanted} for item in features if item["collection"] == (record.formerly or wanted)]


def pages_of(spec: dict[str, Any], url: str) -> tuple[Question, list[Page]]:
    """The search that the spec asks for, at `url` in place of the provider."""
    parsed = spec_from({"name": "x", **spec})
    asked = resolve(parsed)
    source = asked.source
    assert isinstance(source, StacSource)
    pages = list(search(replace(asked, source=replace(source, url=url)), shard(), effort=effort(parsed), secrets=environment_secrets))
    return asked, pages


def href_in(asset: Mapping[str, Any], item: Mapping[str, Any], key: str, rule: str) -> str:
    """What the recorded JSON says, by the rule of the entry."""
    s3 = asset.get("alternate", {}).get("s3", {}).get("href") or item["assets"].get(f"s3_{key}", {}).get("href")
    match rule:
        case "alternate.s3.href":
            return s3 or asset["href"]
        case "s3":
            return asset["href"] if asset["href"].startswith("s3:") else s3 or asset["href"]
        case _:
            return asset["href"]


@pytest.mark.parametrize("record", RECORDED, ids=lambda record: record.entry)
def test_recorded_items(shared: Path, record: Recorded) -> None:
    items = items_of(shared, record)
    with StacServer(items) as server:
        asked, pages = pages_of({"dataset": record.entry}, server.url)
        limits = {request.json["limit"] for request in server.searches}
    assert limits == {effort(spec_from({"name": "x", "dataset": record.entry})).max_page_size or 250}
    received = [item for page in pages for item in page.items]
    assert len(received) == len(items) == record.items
    found = [scene_of(item, asked) for item in received]
    missing: Counter[str] = Counter()
    hosts: set[str] = set()
    crs: set[str] = set()
    for item, (scene, failures) in zip(received, found, strict=True):
        assert scene is not None
        assert answers(scene, item, asked)
        assert {failure.reason for failure in failures} <= {"band-missing"}
        missing.update(failure.band for failure in failures)
        crs.add(scene.crs or "")
        for asset in scene.assets:
            expected = href_in(item["assets"][asset.key], item, asset.key, asked.href)
            hosts.add("/".join(asset.href.split("/")[:3]))
            assert asset.href == expected.partition("?")[0] or "://" not in expected
    assert (dict(missing), hosts, crs) == (dict(record.missing), set(record.hosts), set(record.crs))


def test_jpeg_2000_is_refused_with_a_reason(shared: Path) -> None:
    features = json.loads((shared / "data" / "stac" / "earthsearch-v1_misc.json").read_text())["features"]
    items = [item for item in features if item["collection"] == "sentinel-2-l1c"]
    asked = question(collection="sentinel-2-l1c", bands=[Band(code="B04", asset="red")])
    failures = [failure for item in items for failure in scene_of(item, asked)[1]]
    assert [failure.reason for failure in failures] == ["jpeg2000"] * len(items) == ["jpeg2000"] * 5


def test_headers_decide_the_crs_where_the_items_of_cmr_say_none(shared: Path, tmp_path: Path) -> None:
    (record,) = [record for record in RECORDED if record.entry.startswith("cmr/")]
    items = items_of(shared, record)
    with StacServer() as stac, RangeServer({"/x.tif": cog(1)}) as files:
        world = World(stac, files, tmp_path / "ws")
        for item in items:
            assert not any(name.startswith("proj:") for name in item["properties"])
            moved = {"datetime": JUNE.isoformat()}
            assets = {key: asset | {"href": f"{files.url}/x.tif"} for key, asset in item["assets"].items()}
            stac.items.append(item | {"collection": "s2", "assets": assets, "properties": item["properties"] | moved})
        bands = (Band(code="B04", asset="B04"), Band(code="Fmask", asset="Fmask"))
        whole = Box(west=-180, south=-90, east=180, north=90)
        ref = world.run(world.job("run", bands=bands, bbox=whole, dates=Interval(start=JUNE, end=AUGUST)))
        assert (ref.rows, ref.failed) == (10, 0)
        assert load("s2", str(tmp_path / "ws")).epsg == [32633]


# --- exchanges --------------------------------------------------------------------------------------------------------------------

PC, ES = "planetarycomputer.microsoft.com/api/stac/v1", "earth-search.aws.element84.com/v1"
VERMONT = Box(west=-73.21, south=43.99, east=-73.12, north=44.05)


@pytest.fixture
def replay(shared: Path) -> Iterator[ReplayServer]:
    with ReplayServer(shared / "data" / "stac" / "exchanges") as server:
        yield server


def naip(replay: ReplayServer, **changes: Any) -> Question:
    bands = [Band(code=code, asset="image", index=index) for index, code in enumerate("RGB")]
    return replace(question(f"{replay.url}/{PC}", collection="naip", bands=bands, bbox=VERMONT), **changes)


def test_two_pages_of_planetary_computer(replay: ReplayServer) -> None:
    made = effort(spec_from({"name": "x", "dataset": "pc/naip"}))
    pages = search(naip(replay), shard(), effort=replace(made, page_size=10), secrets=environment_secrets)
    first, second = next(pages), next(pages)
    assert [len(first.items), len(second.items), second.duplicates] == [10, 10, 0]
    assert len({item["id"] for page in (first, second) for item in page.items}) == 20
    assert (first.matched, second.matched) == (None, None)
    assert [request.json.get("token", "")[:10] for request in replay.log if request.method == "POST"] == ["", "next:naip:"]
    scenes = [scene_of(item, naip(replay))[0] for item in first.items]
    assert all(scene is not None and len({asset.href for asset in scene.assets}) == 1 for scene in scenes)


def test_a_query_of_planetary_computer(replay: ReplayServer) -> None:
    asked = naip(replay, query='{"gsd":{"gte":0,"lte":1}}')
    (page,) = search(asked, shard(), effort=effort(spec_from({"name": "x", "dataset": "pc/naip"})), secrets=environment_secrets)
    assert len(page.items) == 42
    for item in page.items:
        scene, failures = scene_of(item, asked)
        assert scene is not None
        assert not failures
        assert answers(scene, item, asked)


def test_items_by_id(replay: ReplayServer) -> None:
    asked = naip(replay)
    ids = ["S2B_MSIL2A_20210610T115639_N0212_R066_T33XXG_20210613T185024.SAFE", "fl_m_2608004_nw_17_060_20191215_20200113"]
    made = effort(spec_from({"name": "x", "dataset": "pc/naip"}))
    (page,) = search_ids(asked, ids, effort=made, secrets=environment_secrets)
    assert [item["id"] for item in page.items] == [ids[1]]


def test_a_search_of_earth_search(replay: ReplayServer) -> None:
    spec = spec_from({"name": "x", "dataset": "earthsearch/cop-dem-glo-30"})
    asked = replace(resolve(spec), source=StacSource(url=f"{replay.url}/{ES}", collection="cop-dem-glo-30"))
    page = next(search(asked, shard(), effort=effort(spec), secrets=environment_secrets))
    assert (len(page.items), page.matched) == (10, 26450)
    assert {item["collection"] for item in page.items} == {"cop-dem-glo-30"}


@pytest.mark.parametrize(("api", "name"), [(ES, "foo"), (PC, "not-a-collection-id")])
def test_a_collection_that_is_not_there(replay: ReplayServer, api: str, name: str) -> None:
    url = f"{replay.url}/{api}"
    with pytest.raises(NotThere, match="404"):
        Web(url, headers={}, retries=0).json(Ask(url=f"{url}/collections/{name}"))
    assert len(replay.log) == 1


# --- quirks -----------------------------------------------------------------------------------------------------------------------


def test_a_provider_that_estimates_is_not_held_to_its_count(shared: Path) -> None:
    (record,) = [record for record in RECORDED if record.entry == "pc/naip"]
    with StacServer(items_of(shared, record)) as server:
        server.matched = 1_000
        _, pages = pages_of({"dataset": "pc/naip"}, server.url)
        assert sum(len(page.items) for page in pages) == 60
        assert {page.matched for page in pages} == {None}
        assert len(server.searches) == 1


def test_an_asset_that_the_provider_keeps_as_jpeg_2000_is_an_error_of_the_spec() -> None:
    for source in ({"dataset": "earthsearch/sentinel-2-l2a"}, {"stac": {"url": f"https://{ES}", "collection": "sentinel-2-l2a"}}):
        with pytest.raises(SpecError) as caught:
            resolve(spec_from({"name": "x", **source, "band_map": {"B04": "red-jp2", "B03": "green"}}))
        (problem,) = caught.value.problems
        assert (problem.path, problem.value) == ("band_map.B04", "red-jp2")
        assert "JPEG 2000" in problem.message
        assert problem.remedy == "write B04: red"
    with pytest.raises(SpecError, match="JPEG2000"):
        resolve(spec_from({"name": "x", "dataset": "cdse/sentinel-2-l2a"}))


def test_a_former_id_is_the_same_question() -> None:
    url = "https://cmr.earthdata.nasa.gov/stac/LPCLOUD"
    formerly, today = (
        resolve(spec_from({"name": "x", "stac": {"url": url, "collection": name}})) for name in ("HLSL30.v2.0", "HLSL30_2.0")
    )
    assert formerly == today == resolve(spec_from({"name": "x", "dataset": "cmr/hls-l30"}))
