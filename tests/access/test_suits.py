"""What the first page of a search tells: a wrong collection or band map ends a build there, and costs a right one nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rasterloom.access.build import search_shard
from rasterloom.access.building.suits import api as api_of
from rasterloom.access.building.suits import built_in_assets, collection_of, first_items, nearest_assets, wrong_bands
from rasterloom.access.credentials.secrets import environment_secrets
from rasterloom.errors import AccessDenied, SpecError, Unreadable
from rasterloom.specs.effort import AuthRef, Effort
from rasterloom.specs.question import Band, StacSource
from tests.access.questions import item, question
from tests.access.world import JULY, JUNE, World
from tests.servers import RangeServer, Server, StacServer, Status
from tests.tokens import BlobServer, TokenServer

HOW = Effort(allow_private_hosts=True, retries=0)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with StacServer() as stac, RangeServer({}) as files:
        made = World(stac, files, tmp_path / "workspace")
        for number in range(30):
            made.add(number, JUNE if number < 20 else JULY)
        yield made


def bands(*assets: str) -> tuple[Band, ...]:
    return tuple(Band(code=asset.upper(), asset=asset) for asset in assets)


def paths(server: Server) -> list[str]:
    return [request.path for request in server.log]


def test_a_right_question_costs_no_request_more(world: World) -> None:
    job = world.job("run-1", effort=replace(HOW, page_size=50))
    assert search_shard(job, job.plan.shards[0]).kept == 20
    assert paths(world.stac) == ["/", "/search"]


def test_a_wrong_band_map_ends_the_search_at_its_first_page(world: World) -> None:
    """Of many pages one is read, and one of the whole question, to be sure."""
    job = world.job("run-1", effort=replace(HOW, page_size=4), bands=(Band(code="B04", asset="b04"), Band(code="B08", asset="b8")))
    with pytest.raises(SpecError, match="1 of 2 bands cannot be found") as refused:
        search_shard(job, job.plan.shards[0])
    (problem,) = refused.value.problems
    assert (problem.path, problem.value, problem.remedy) == ("band_map.B08", "b8", "write B08: b08")
    assert len(world.stac.searches) == 2
    assert len(world.stac.log) <= 5


def test_assets_that_later_items_have_are_no_mistake(world: World) -> None:
    """An archive of two instruments: the first window has only the older one."""
    for each in world.stac.items[:20]:
        each["assets"].pop("b08")
    world.stac.items.reverse()
    job = world.job("run-1", bands=bands("b04", "b08"))
    assert len(search_shard(job, job.plan.shards[0]).failures) == 20


def test_assets_that_the_collection_declares_are_no_mistake(world: World) -> None:
    """All items of the question are of the older instrument; the collection says that there is another."""
    world.stac.collection_extras = {"item_assets": {"coastal": {}, "b04": {}}}
    job = world.job("run-1", effort=HOW, bands=bands("b04", "coastal"))
    assert len(search_shard(job, job.plan.shards[0]).failures) == 20
    only = world.job("run-2", effort=HOW, bands=bands("coastal"))
    with pytest.raises(SpecError, match="1 of 1 bands cannot be found"):
        search_shard(only, only.plan.shards[0])


def test_the_built_in_datasets_know_their_assets() -> None:
    assert "coastal" in built_in_assets(question("https://landsatlook.usgs.gov/stac-server", collection="landsat-c2l2-sr"))
    assert built_in_assets(question()) == frozenset()


@pytest.mark.parametrize("changes", [{"action": "refresh"}, {"effort": replace(HOW, max_error_rate=0.5)}])
def test_what_was_committed_before_or_is_tolerated_is_not_doubted(world: World, changes: dict[str, Any]) -> None:
    job = replace(world.job("run-1", effort=HOW, bands=bands("b04", "b8")), **changes)
    assert len(search_shard(job, job.plan.shards[0]).failures) == 20


def test_a_wrong_collection_is_named_with_the_nearest(world: World) -> None:
    job = world.job("run-1", effort=HOW, source=StacSource(url=world.stac.url, collection="s3"))
    with pytest.raises(SpecError, match="has no collection s3") as refused:
        search_shard(job, job.plan.shards[0])
    assert refused.value.remedy == "write collection: s2"
    assert paths(world.stac) == ["/", "/search", "/collections/s3", "/collections"]


def test_many_empty_windows_ask_for_the_collection_once(world: World) -> None:
    job = world.job("run-1", effort=HOW, query='{"eo:cloud_cover":{"gt":1000}}')
    for shard in job.plan.shards:
        assert search_shard(job, shard).kept == 0
    assert paths(world.stac).count("/collections/s2") == 1


@pytest.mark.parametrize("status", [400, 404])
def test_a_search_that_is_refused_for_its_collection_says_so(world: World, status: int) -> None:
    world.stac.faults["/search"] = Status(status)
    wrong = world.job("run-1", effort=HOW, source=StacSource(url=world.stac.url, collection="s3"))
    with pytest.raises(SpecError, match="has no collection s3"):
        search_shard(wrong, wrong.plan.shards[0])
    right = world.job("run-2", effort=HOW)
    with pytest.raises(SpecError, match=f"answered {status} to page 1 of the search"):
        search_shard(right, right.plan.shards[0])


def test_an_api_that_lists_no_collections_is_believed(world: World) -> None:
    for path in ("/collections/s2", "/collections"):
        world.stac.faults[path] = Status(404)
    job = world.job("run-1", effort=HOW, query='{"eo:cloud_cover":{"gt":1000}}')
    assert search_shard(job, job.plan.shards[0]).kept == 0
    source = StacSource(url=world.stac.url, collection="s2")
    with pytest.raises(Unreadable, match="no list of collections"):
        collection_of(api_of(source, effort=HOW, secrets=environment_secrets), source)


def test_an_endpoint_that_is_not_there_takes_few_requests(world: World) -> None:
    job = world.job("run-1", effort=Effort(), source=StacSource(url=f"{world.stac.url}/stac/v9", collection="s2"))
    with pytest.raises(SpecError, match="answered 404 to the landing page"):
        search_shard(job, job.plan.shards[0])
    assert len(world.stac.log) <= 3


def test_a_token_that_is_refused_ends_the_search_at_its_first_page(world: World) -> None:
    """A token is fetched with the first page, not after the last; and once, where it is given."""
    with BlobServer({}) as blobs, TokenServer(blobs.key, "acct") as tokens:
        tokens.subscription = "a-key"
        for each in world.stac.items:
            each["assets"]["b04"]["href"] = f"{blobs.url}/acct/c/{each['id']}.tif"
        options = (("endpoint", f"{tokens.url}/token"), ("hosts", blobs.host))
        how = replace(HOW, page_size=2, auth=AuthRef(provider="planetary_computer", options=options))
        job = world.job("run-1", effort=how)
        with pytest.raises(AccessDenied):
            search_shard(job, job.plan.shards[0])
        assert (len(world.stac.searches), len(tokens.log), blobs.log) == (1, 1, [])
        tokens.subscription = None
        assert search_shard(job, job.plan.shards[0]).kept == 20
        assert (len(tokens.log), blobs.log) == (2, [])


def test_a_key_that_is_not_set_ends_the_search_at_its_first_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RASTERLOOM_TEST_KEY", raising=False)
    how = replace(HOW, page_size=2, auth=AuthRef(provider="aws", options=(("secret_access_key", "${RASTERLOOM_TEST_KEY}"),)))
    for each in world.stac.items:
        each["assets"]["b04"]["href"] = f"s3://bucket/{each['id']}.tif"
    job = world.job("run-1", effort=how)
    with pytest.raises(AccessDenied, match="RASTERLOOM_TEST_KEY is not set"):
        search_shard(job, job.plan.shards[0])
    assert len(world.stac.searches) == 1


def test_the_first_items_are_one_page_of_the_whole_question(world: World) -> None:
    asked = world.question()
    assert len(first_items(asked, effort=HOW, secrets=environment_secrets, count=7)) == 7
    assert len(world.stac.searches) == 1


def asset(**said: Any) -> dict[str, Any]:
    return {"href": "x.tif", **said}


@pytest.mark.parametrize(
    ("assets", "band", "near"),
    [
        ({"blue": asset(), "green": asset()}, Band(code="B02", asset="bleu"), ["blue"]),
        ({"img": asset(**{"eo:bands": [{"name": "B02"}]})}, Band(code="B02", asset="blue"), ["img"]),
        ({"img": asset(bands=[{"name": "x", "eo:common_name": "y"}, {"name": "blue"}])}, Band(code="B02", asset="blue"), ["img"]),
        ({"B02": asset()}, Band(code="B02", asset="blue"), ["B02"]),
        ({"blue": asset(type="application/x-hdf"), "bluebell": asset(type="image/png")}, Band(code="B02", asset="bleu"), []),
        ({"red": asset()}, Band(code="B02", asset="swir"), []),
    ],
)
def test_the_nearest_asset_is_an_image_that_is_called_so(assets: dict[str, Any], band: Band, near: list[str]) -> None:
    assert nearest_assets(band, assets) == near


def test_jpeg_2000_is_told_before_anything_is_read() -> None:
    asked = question(bands=bands("red", "nir"))
    assets = {"red": asset(type="image/jp2"), "red-tif": asset(), "nir": asset(href="nir.jp2")}
    first, second = wrong_bands(asked, [item(assets=assets), item(assets={}), item(assets=None), None])
    assert ("JPEG 2000" in first.message, first.remedy) == (True, "write RED: red-tif")
    assert "as GeoTIFFs" in second.remedy
    assert wrong_bands(asked, [item(assets=assets), item(assets={"red": asset(), "nir": asset()})]) == ()


def test_items_without_assets_say_nothing() -> None:
    assert wrong_bands(question(), [item(assets=None), item(assets={}), None, 3]) == ()
