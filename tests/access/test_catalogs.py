"""Static catalogs as they are found: on disk and behind a server, deep, cyclic, broken and hostile. Requests are counted."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rasterloom.access.credentials.secrets import environment_secrets
from rasterloom.access.items.extents import Reach
from rasterloom.access.items.footprints import area_of
from rasterloom.access.items.pages import Page
from rasterloom.access.items.scene import answers, scene_of
from rasterloom.access.sources import catalogs
from rasterloom.access.sources.search import search, search_ids
from rasterloom.errors import RasterloomError, SpecError, Unavailable, Unreadable
from rasterloom.specs.effort import AuthRef, Effort
from rasterloom.specs.question import Box, CatalogSource, Interval, Question
from tests.access.questions import day, item, many, question, shard
from tests.access.trees import Tree, catalog, collection, link, served, tree, written
from tests.servers import Html, RangeServer, Redirect, Request, Response, Server, Status

EFFORT = Effort(page_size=10, timeout=30, retries=0)
EUROPE, CHILE = (5.0, 45.0, 15.0, 55.0), (-75.0, -50.0, -70.0, -20.0)


@pytest.fixture
def server() -> Iterator[RangeServer]:
    with RangeServer({}) as running:
        yield running


def asked(path: Path | str, wanted: str | None = None, **changes: Any) -> Question:
    return replace(question(**changes), source=CatalogSource(path=str(path), collection=wanted))


def pages_of(path: Path | str, wanted: str | None = None, *, effort: Effort = EFFORT, **changes: Any) -> list[Page]:
    made = asked(path, wanted, **changes)
    return list(search(made, shard(made.dates), effort=effort, secrets=environment_secrets))


def ids_of(pages: list[Page]) -> list[str]:
    return [one["id"] for page in pages for one in page.items]


def error_of(path: Path | str, wanted: str | None = None, **changes: Any) -> RasterloomError:
    with pytest.raises(RasterloomError) as caught:
        pages_of(path, wanted, **changes)
    assert caught.value.remedy
    return caught.value


def two_collections(**extents: Any) -> Tree:
    return tree({"a": many(25), "b": [item(f"b{number}") for number in range(3)]}, **extents)


def root_of(server: RangeServer, documents: Tree) -> str:
    server.files = served(documents)
    return f"{server.url}/catalog.json"


def hrefs_of(pages: list[Page], made: Question) -> list[str]:
    scenes = [scene_of(one, made)[0] for page in pages for one in page.items]
    return [asset.href for scene in scenes if scene for asset in scene.assets]


def test_files_in_the_order_of_the_links(tmp_path: Path) -> None:
    pages = pages_of(written(two_collections(), tmp_path))
    assert ids_of(pages) == [f"i{number:05}" for number in range(25)] + ["b0", "b1", "b2"]
    assert [len(page.items) for page in pages] == [10, 10, 8]
    assert {(page.requests, page.bytes) for page in pages} == {(0, 0)}  # nothing came over the network


def test_over_http_a_document_is_asked_for_once(server: RangeServer) -> None:
    documents = two_collections()
    pages = pages_of(root_of(server, documents))
    assert ids_of(pages) == [f"i{number:05}" for number in range(25)] + ["b0", "b1", "b2"]
    assert len(server.log) == sum(page.requests for page in pages) == len(documents) == 31
    assert sum(page.bytes for page in pages) == sum(map(len, server.files.values()))


def test_no_more_documents_at_once_than_the_spec_allows(server: RangeServer) -> None:
    root = root_of(server, two_collections())
    list(search(asked(root), shard(), effort=replace(EFFORT, max_concurrent=3), secrets=environment_secrets))
    under_way = 0
    server.latency = 0.01
    most = Most(server)
    with most:
        ids = ids_of(pages_of(f"{most.url}/catalog.json", effort=replace(EFFORT, max_concurrent=3)))
        under_way = most.most
    assert len(ids) == 28
    assert 1 < under_way <= 3


class Most(Server):
    """Another server's files, and how many of them were under way at once."""

    def __init__(self, files: RangeServer) -> None:
        super().__init__(latency=0.0)
        self._files, self._now, self.most = files, 0, 0

    def respond(self, request: Request) -> Response:
        self._now += 1
        self.most = max(self.most, self._now)
        self.stopping.wait(0.01)
        response = self._files.respond(request)
        self._now -= 1
        return response


class Shuffled(Server):
    """Another server's files, each after a while of its own."""

    def __init__(self, files: RangeServer, seed: int) -> None:
        super().__init__()
        self._files, self._random = files, random.Random(seed)

    def respond(self, request: Request) -> Response:
        self.stopping.wait(self._random.uniform(0, 0.01))
        return self._files.respond(request)


@pytest.mark.parametrize("seed", range(3))
def test_what_comes_first_decides_nothing(server: RangeServer, seed: int) -> None:
    root_of(server, two_collections())
    with Shuffled(server, seed) as shuffled:
        pages = pages_of(f"{shuffled.url}/catalog.json")
    assert ids_of(pages) == [f"i{number:05}" for number in range(25)] + ["b0", "b1", "b2"]


@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(
    links=st.lists(st.lists(st.integers(0, 15), max_size=6), min_size=1, max_size=8),
    at_once=st.integers(1, 5),
)
def test_any_web_of_catalogs_is_walked_as_a_simple_walk_does(
    tmp_path_factory: pytest.TempPathFactory, links: list[list[int]], at_once: int
) -> None:
    """Documents below `len(links)` are catalogs with those links, the others items; cycles, diamonds and links to oneself are common."""
    is_catalog = {number: number < len(links) for number in range(16)}
    documents = {
        f"{number}/x.json": catalog(f"c{number}", *(link("child" if is_catalog[to] else "item", f"../{to}/x.json") for to in links[number]))
        if is_catalog[number]
        else item(f"i{number}")
        for number in range(16)
    }
    root = tmp_path_factory.mktemp("web")
    written(documents, root)
    expected: list[str] = []
    seen, left = {0}, [0]
    while left:
        here = left.pop()
        if not is_catalog[here]:
            expected.append(f"i{here}")
            continue
        new = [to for to in dict.fromkeys(links[here]) if to not in seen]
        seen.update(new)
        left.extend(reversed(new))
    assert ids_of(pages_of(root / "0/x.json", effort=replace(EFFORT, max_concurrent=at_once))) == expected


def test_one_collection_of_it_and_no_item_of_another_is_read(server: RangeServer) -> None:
    pages = pages_of(root_of(server, two_collections()), "b")
    assert ids_of(pages) == ["b0", "b1", "b2"]
    assert len(server.log) == 3 + 3


def test_collections_within_the_one_that_is_asked_for(tmp_path: Path) -> None:
    documents = {
        "catalog.json": catalog("root", link("child", "event/collection.json"), link("child", "other/collection.json")),
        "event/collection.json": collection("event", link("child", "./pass-1/collection.json")),
        "event/pass-1/collection.json": collection("pass-1", link("item", "../../items/a.json")),
        "other/collection.json": collection("other", link("item", "../items/b.json"), link("child", "../deep/collection.json")),
        "deep/collection.json": collection("deep", link("item", "../items/c.json")),
        "items/a.json": item("a", collection="pass-1"),
        "items/b.json": item("b", collection="other"),
        "items/c.json": item("c", collection="deep"),
    }
    root = written(documents, tmp_path)
    assert ids_of(pages_of(root, "event")) == ["a"]
    assert ids_of(pages_of(root, "pass-1")) == ["a"]
    assert ids_of(pages_of(root, "deep")) == ["c"]
    wanted = asked(root, "event")
    (found,) = [one for page in pages_of(root, "event") for one in page.items]
    scene, _ = scene_of(found, wanted)
    assert scene is not None
    assert scene.collection == "pass-1"
    assert answers(scene, found, wanted)


def test_a_collection_that_is_not_there_is_told_with_the_nearest(tmp_path: Path) -> None:
    error = error_of(written(tree({"sentinel-2-l2a": [item()], "landsat": [item("x")]}), tmp_path), "sentinel-2")
    assert isinstance(error, SpecError)
    assert "has no collection 'sentinel-2': it has sentinel-2-l2a, landsat" in error.message
    assert error.remedy == "write catalog.collection: sentinel-2-l2a"


def test_items_that_hang_on_catalogs_are_told_apart_by_their_own_collection(tmp_path: Path) -> None:
    documents = {
        "catalog.json": catalog("root", link("child", "2024/catalog.json"), link("item", "c.json")),
        "2024/catalog.json": catalog("2024", link("item", "a.json"), link("item", "b.json")),
        "2024/a.json": item("a", collection="wanted"),
        "2024/b.json": item("b", collection="other"),
        "c.json": item("c", collection=...),
    }
    root = written(documents, tmp_path)
    assert ids_of(pages_of(root, "wanted")) == ["a"]
    assert ids_of(pages_of(root)) == ["a", "b", "c"]


def test_an_item_without_a_collection_belongs_to_the_nearest(tmp_path: Path) -> None:
    documents = {"catalog.json": collection("near", link("item", "a.json")), "a.json": item("a", collection=...)}
    (page,) = pages_of(written(documents, tmp_path), "near")
    assert page.items[0]["collection"] == "near"


@pytest.mark.parametrize("served_over", ["disk", "http"])
def test_relative_hrefs_start_from_the_document_that_holds_them(tmp_path: Path, server: RangeServer, served_over: str) -> None:
    asset = {"href": "../../tiles/red.tif", "type": "image/tiff"}
    mine = item("a", assets={"red": asset}, links=[link("self", "https://elsewhere.example.org/a.json")])
    documents = {
        "catalog.json": catalog("root", link("child", "sub/collection.json")),
        "sub/collection.json": collection("sub", link("item", "./deep/er/a.json")),
        "sub/deep/er/a.json": mine,
    }
    root = str(written(documents, tmp_path)) if served_over == "disk" else root_of(server, documents)
    base = str(tmp_path) if served_over == "disk" else server.url
    assert hrefs_of(pages_of(root), asked(root)) == [f"{base}/sub/tiles/red.tif"]


def test_a_redirected_document_is_where_it_was_found(server: RangeServer) -> None:
    documents = {"v2/catalog.json": catalog("root", link("item", "a.json")), "v2/a.json": item("a")}
    root = root_of(server, documents)
    server.faults["/catalog.json"] = Redirect("/v2/catalog.json")
    assert ids_of(pages_of(root)) == ["a"]


@pytest.mark.parametrize("spelled", ["a b.json", "a%20b.json"])
def test_a_blank_in_a_file_name(tmp_path: Path, spelled: str) -> None:
    documents = {"catalog.json": catalog("root", link("item", spelled)), "a b.json": item("a")}
    assert ids_of(pages_of(written(documents, tmp_path))) == ["a"]


def test_item_collections_as_a_root_and_as_a_leaf(tmp_path: Path) -> None:
    own = item("b", links=[link("self", "https://api.example.org/b")], assets={"red": {"href": "b.tif"}})
    documents: Tree = {
        "catalog.json": {"type": "FeatureCollection", "features": [item("a", assets={"red": {"href": "./a.tif"}}), own, "none"]},
    }
    root = written(documents, tmp_path)
    pages = pages_of(root)
    assert ids_of(pages) == ["a", "b", None]
    assert hrefs_of(pages, asked(root)) == [f"{tmp_path}/a.tif", "https://api.example.org/b.tif"]
    documents["items.json"] = {**documents.pop("catalog.json"), "links": [link("next", "more.json")]}
    documents["more.json"] = {"type": "FeatureCollection", "features": [item("c")], "links": [link("next", "items.json")]}
    documents["catalog.json"] = catalog("root", link("items", "items.json"))
    assert ids_of(pages_of(written(documents, tmp_path))) == ["a", "b", None, "c"]


def test_one_item_as_the_root(tmp_path: Path) -> None:
    assert ids_of(pages_of(written({"catalog.json": item("alone")}, tmp_path))) == ["alone"]


def test_a_file_url_is_a_path(tmp_path: Path) -> None:
    root = written(two_collections(), tmp_path / "with blank")
    assert len(ids_of(pages_of(root.as_uri()))) == 28


def test_documents_from_before_stac_1_have_no_type(tmp_path: Path) -> None:
    documents = two_collections()
    for document in documents.values():
        if document["type"] != "Feature":
            del document["type"]
    assert len(ids_of(pages_of(written(documents, tmp_path), "a"))) == 25


# --- extents --------------------------------------------------------------------------------------------------------------------


def test_what_cannot_answer_by_its_extent_is_not_read(server: RangeServer) -> None:
    root = root_of(server, two_collections(a={"bbox": EUROPE}, b={"bbox": CHILE}))
    assert len(ids_of(pages_of(root, bbox=Box(west=10, south=50, east=11, north=51)))) == 25
    assert len(server.log) == 3 + 25
    server.log.clear()
    extents = {"a": {"dates": ("2024-01-01T00:00:00Z", None)}, "b": {"dates": ("2010-01-01T00:00:00Z", "2012-12-31T00:00:00Z")}}
    root = root_of(server, two_collections(**extents))
    assert len(ids_of(pages_of(root, dates=Interval(start=day("2024-06-01"), end=day("2024-07-01"))))) == 25
    assert len(server.log) == 3 + 25


def test_a_collection_that_is_skipped_is_not_called_missing(tmp_path: Path) -> None:
    root = written(two_collections(b={"bbox": CHILE}), tmp_path)
    assert ids_of(pages_of(root, "b", bbox=Box(west=10, south=50, east=11, north=51))) == []


@pytest.mark.parametrize(
    "extent",
    [
        None,
        {},
        {"spatial": None, "temporal": None},
        {"spatial": {"bbox": []}, "temporal": {"interval": []}},
        {"spatial": {"bbox": [[None, None, None, None]]}, "temporal": {"interval": [["soon", "later"]]}},
        {"spatial": {"bbox": [[10.95, 50, 0, 12, 51, 100]]}},
        {"spatial": {"bbox": [[-170, -60, 170, 60]]}},
        {"spatial": {"bbox": [[170, -60, 20, 60]]}},
        {"spatial": {"bbox": [[190, 0, 372, 60]]}},
        {"spatial": {"bbox": [[-75, -50, -70, -20], [10.5, 50, 12, 52]]}},
        {"spatial": {"bbox": [[11.05, 50, 12, 51]]}},
        {"temporal": {"interval": [["2024-06-30T00:00:00Z", None]]}},
        {"temporal": {"interval": [["2020-01-01T00:00:00Z", "2024-05-31"]]}},
        {"temporal": {"interval": [["2010-01-01T00:00:00Z", "2011-01-01T00:00:00Z"], [None, "2024-06-02T00:00:00Z"]]}},
    ],
)
def test_an_extent_that_says_nothing_clear_or_touches_keeps_its_items(extent: object) -> None:
    dates = Interval(start=day("2024-06-01"), end=day("2024-06-30"))
    reach = Reach(area=area_of(Box(west=10, south=50, east=11, north=51), None), dates=dates)
    assert reach.may_meet({"extent": extent})


@pytest.mark.parametrize(
    "extent",
    [
        {"spatial": {"bbox": [[11.2, 50, 12, 51]]}},
        {"spatial": {"bbox": [[170, -60, -170, 60]]}},
        {"temporal": {"interval": [["2024-07-02T00:00:00Z", None]]}},
        {"temporal": {"interval": [["2020-01-01T00:00:00Z", "2024-05-30T00:00:00Z"]]}},
    ],
)
def test_an_extent_elsewhere(extent: object) -> None:
    dates = Interval(start=day("2024-06-01"), end=day("2024-06-30"))
    reach = Reach(area=area_of(Box(west=10, south=50, east=11, north=51), None), dates=dates)
    assert not reach.may_meet({"extent": extent})
    assert Reach().may_meet({"extent": extent})


def test_over_the_antimeridian() -> None:
    reach = Reach(area=area_of(Box(west=175, south=-20, east=-175, north=0), None))
    assert reach.may_meet({"extent": {"spatial": {"bbox": [[-178, -19, -177, -18]]}}})
    assert reach.may_meet({"extent": {"spatial": {"bbox": [[176, -19, 182, -18]]}}})
    assert not reach.may_meet({"extent": {"spatial": {"bbox": [[-170, -19, 170, -18]]}}})


# --- broken ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("over", ["disk", "http"])
@pytest.mark.parametrize("gone", ["a/collection.json", "a/i00007/i00007.json"])
def test_a_link_that_leads_nowhere_is_named_with_its_parent(tmp_path: Path, server: RangeServer, over: str, gone: str) -> None:
    documents = two_collections()
    del documents[gone]
    base = str(tmp_path) if over == "disk" else server.url
    error = error_of(str(written(documents, tmp_path)) if over == "disk" else root_of(server, documents))
    assert isinstance(error, SpecError)
    rel, parent = ("child", "catalog.json") if gone.endswith("collection.json") else ("item", "a/collection.json")
    assert f"the {rel} {base}/{gone} of {base}/{parent}" in error.message


@pytest.mark.parametrize("over", ["disk", "http"])
def test_no_catalog_there(tmp_path: Path, server: RangeServer, over: str) -> None:
    error = error_of(tmp_path / "catalog.json" if over == "disk" else f"{server.url}/catalog.json")
    assert isinstance(error, SpecError)
    assert "catalog.json" in error.message
    assert "catalog.path" in error.remedy


def test_a_busy_server_is_tried_again(server: RangeServer) -> None:
    root = root_of(server, two_collections())
    server.faults["/a/i00003/i00003.json"] = Status(503, times=2)
    assert len(ids_of(pages_of(root, effort=replace(EFFORT, retries=3)))) == 28
    assert len(server.log) == 31 + 2
    server.faults["/a/i00003/i00003.json"] = Status(503)
    assert isinstance(error_of(root, effort=replace(EFFORT, retries=1)), Unavailable)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "not-json"),
        (b"<html>", "not-json"),
        (b"\xff\xfe", "not-json"),
        (b"[" * 100 + b"]" * 100, "too-deep"),
        (b"[1]", "not-stac"),
        (b'{"hello": "world"}', "not-stac"),
    ],
)
@pytest.mark.parametrize("over", ["disk", "http"])
def test_an_item_that_is_none_is_a_failure_and_its_neighbours_go_on(
    tmp_path: Path, server: RangeServer, over: str, body: bytes, reason: str
) -> None:
    documents = two_collections()
    root = str(written(documents, tmp_path)) if over == "disk" else root_of(server, documents)
    (tmp_path / "a/i00003").mkdir(parents=True, exist_ok=True)
    (tmp_path / "a/i00003/i00003.json").write_bytes(body)
    server.files["/a/i00003/i00003.json"] = body
    pages = pages_of(root)
    assert len(ids_of(pages)) == 27
    (failure,) = [failure for page in pages for failure in page.failures]
    assert (failure.stage, failure.reason) == ("item", reason)
    assert failure.href.endswith("/a/i00003/i00003.json")
    assert "/a/collection.json" in failure.message


@pytest.mark.parametrize("body", [b"{", b"<html>", b'{"hello": "world"}'])
def test_a_child_that_is_none_ends_the_search(server: RangeServer, body: bytes) -> None:
    root = root_of(server, two_collections())
    server.files["/b/collection.json"] = body
    error = error_of(root)
    assert isinstance(error, Unreadable)
    assert f"of {root}" in error.message


def test_a_login_page(server: RangeServer) -> None:
    root = root_of(server, two_collections())
    server.faults["/catalog.json"] = Html(status=200)
    assert isinstance(error_of(root), Unreadable)


@pytest.mark.parametrize("href", [None, "", "  ", 5])
def test_a_link_without_an_href(tmp_path: Path, href: object) -> None:
    documents: Tree = {"catalog.json": {**catalog("root"), "links": [{"rel": "item", "href": href}]}}
    error = error_of(written(documents, tmp_path))
    assert isinstance(error, Unreadable)
    assert error.reason == "bad-href"


def test_what_leads_back_is_read_once(server: RangeServer) -> None:
    documents = {
        "catalog.json": catalog("root", link("child", "catalog.json"), link("child", "a/catalog.json"), link("child", "b/catalog.json")),
        "a/catalog.json": catalog("a", link("child", "../b/catalog.json"), link("child", "../catalog.json"), link("item", "../i.json")),
        "b/catalog.json": catalog("b", link("child", "../a/catalog.json"), link("item", "../i.json"), link("item", "../i.json")),
        "i.json": item("i"),
    }
    assert ids_of(pages_of(root_of(server, documents))) == ["i"]
    assert len(server.log) == 4


class Endless(Server):
    """Each catalog has a new one below it, or new ones."""

    def __init__(self, breadth: int) -> None:
        super().__init__()
        self._breadth, self._numbers = breadth, count()

    def respond(self, request: Request) -> Response:
        links = [link("child", f"/{next(self._numbers)}/catalog.json") for _ in range(self._breadth)]
        return Response(200, json.dumps(catalog("c", *links)).encode(), {"Content-Type": "application/json"})


def test_a_catalog_without_a_bottom_ends() -> None:
    with Endless(1) as server:
        error = error_of(f"{server.url}/catalog.json")
        assert isinstance(error, Unreadable)
        assert error.reason == "too-deep"
        assert len(server.log) <= catalogs.DEEPEST + 2


def test_a_catalog_without_an_end_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogs, "MOST_DOCUMENTS", 500)
    with Endless(20) as server:
        error = error_of(f"{server.url}/catalog.json")
        assert isinstance(error, Unreadable)
        assert error.reason == "too-large"
        assert len(server.log) < 500


def test_pages_of_an_item_collection_are_no_depth(tmp_path: Path) -> None:
    pages = {
        f"{number}.json": {"type": "FeatureCollection", "features": [item(f"i{number}")], "links": [link("next", f"{number + 1}.json")]}
        for number in range(50)
    }
    pages["50.json"] = {"type": "FeatureCollection", "features": []}
    assert len(ids_of(pages_of(written({"catalog.json": catalog("root", link("items", "0.json")), **pages}, tmp_path)))) == 50


def test_a_stac_api_is_no_static_catalog(server: RangeServer) -> None:
    landing = {**catalog("api", link("search", "/search"), link("child", "/collections/a")), "conformsTo": ["core"]}
    error = error_of(root_of(server, {"catalog.json": landing}))
    assert isinstance(error, SpecError)
    assert "write stac:" in error.remedy


@pytest.mark.parametrize(
    "sign",
    [
        {"numberMatched": 7, "links": [link("next", "/page-2")]},
        {"links": [link("next", "/items.json?token=2")]},
        {"links": [{**link("next", "/items.json"), "method": "POST", "body": {"token": "2"}}]},
    ],
)
def test_a_page_of_an_api_is_no_item_collection(server: RangeServer, sign: dict[str, Any]) -> None:
    page = {"type": "FeatureCollection", "features": [item()], **sign}
    documents: Tree = {"catalog.json": collection("c", link("items", "/items.json")), "items.json": page}
    error = error_of(root_of(server, documents))
    assert isinstance(error, SpecError)
    assert "write stac:" in error.remedy
    assert "/items.json of" in error.message
    page["links"] = []
    assert ids_of(pages_of(root_of(server, documents))) == ["a"]


# --- hostile --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rel", ["child", "item"])
@pytest.mark.parametrize("href", ["file:///etc/hostname", "file://localhost/etc/hostname"])
def test_a_catalog_of_the_network_reads_no_files_of_this_machine(server: RangeServer, rel: str, href: str) -> None:
    root = root_of(server, {"catalog.json": catalog("root", link(rel, href))})
    for effort in (EFFORT, replace(EFFORT, allow_private_hosts=True)):
        if rel == "child":
            error = error_of(root, effort=effort)
            assert isinstance(error, Unreadable)
            assert error.reason == "forbidden-host"
        else:
            (page,) = pages_of(root, effort=effort)
            assert page.items == []
            assert [failure.reason for failure in page.failures] == ["forbidden-host"]


def test_a_local_catalog_leads_to_private_hosts_only_where_the_spec_allows_it(tmp_path: Path, server: RangeServer) -> None:
    elsewhere = root_of(server, two_collections())
    root = written({"catalog.json": catalog("root", link("child", elsewhere))}, tmp_path)
    error = error_of(root)
    assert isinstance(error, Unreadable)
    assert error.reason == "forbidden-host"
    assert server.log == []
    assert len(ids_of(pages_of(root, effort=replace(EFFORT, allow_private_hosts=True)))) == 28


def test_a_redirect_to_another_origin_is_not_followed(server: RangeServer) -> None:
    root = root_of(server, two_collections())
    with RangeServer(served(two_collections())) as other:
        server.faults["/a/collection.json"] = Redirect(f"{other.url}/a/collection.json")
        error = error_of(root)
        assert isinstance(error, Unreadable)
        assert error.reason == "foreign-host"
        assert other.log == []


def test_a_pipe_is_no_document(tmp_path: Path) -> None:
    root = written({"catalog.json": catalog("root", link("item", "/dev/zero"))}, tmp_path)
    assert isinstance(error_of(root), SpecError)


def test_compressed_documents_are_unpacked_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = written(two_collections(), tmp_path)
    for file in tmp_path.rglob("*.json"):
        file.write_bytes(gzip.compress(file.read_bytes()))
    assert len(ids_of(pages_of(root))) == 28
    root.write_bytes(gzip.compress(b" " * 100_000))
    monkeypatch.setattr("rasterloom.access.archive.documents.LARGEST_BODY", 10_000)
    for body, reason in ((root.read_bytes(), "too-large"), (root.read_bytes()[:2], "not-json"), (b"\x1f\x8b" + b"x" * 20, "bad-encoding")):
        root.write_bytes(body)
        error = error_of(root)
        assert isinstance(error, Unreadable)
        assert error.reason == reason


@pytest.mark.parametrize("provider", ["gcs", "azure"])
def test_with_credentials_documents_are_read_as_files_are(server: RangeServer, provider: str) -> None:
    root = root_of(server, two_collections())
    how = replace(EFFORT, auth=AuthRef(provider=provider))
    assert len(ids_of(pages_of(root, effort=how))) == 28
    assert len(server.log) == 31
    del server.files["/a/i00003/i00003.json"]
    error = error_of(root, effort=how)
    assert isinstance(error, SpecError)
    assert f"the item {server.url}/a/i00003/i00003.json of {server.url}/a/collection.json" in error.message


def test_a_huge_document_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rasterloom.access.archive.documents.LARGEST_BODY", 1000)
    root = written({"catalog.json": catalog("root", *(link("item", f"{number}.json") for number in range(100)))}, tmp_path)
    error = error_of(root)
    assert isinstance(error, Unreadable)
    assert error.reason == "too-large"


# --- by id ----------------------------------------------------------------------------------------------------------------------


def test_items_by_id_wherever_they_lie(server: RangeServer) -> None:
    root = root_of(server, two_collections(b={"bbox": CHILE}))
    wanted = asked(root, bbox=Box(west=10, south=50, east=11, north=51))
    pages = list(search_ids(wanted, ["b1", "i00002", "never"], effort=EFFORT, secrets=environment_secrets))
    assert sorted(ids_of(pages)) == ["b1", "i00002"]
    assert len(server.log) == 31


def test_the_first_pages_do_not_wait_for_the_last(server: RangeServer) -> None:
    root = root_of(server, two_collections())
    pages = search(asked(root), shard(), effort=replace(EFFORT, max_concurrent=4), secrets=environment_secrets)
    assert len(next(iter(pages)).items) == 10
    assert len(server.log) < 25


def test_real_item_collections_and_the_same_items_as_a_tree(shared: Path, tmp_path: Path) -> None:
    """Of 20 providers and writers: every item, whether it stands with others in one file or alone below a collection."""
    for path in sorted((shared / "data/stac").glob("*_*.json")):
        features = json.loads(path.read_text())["features"]
        ids = [one["id"] for one in features]
        assert ids_of(pages_of(path)) == ids
        name = features[0].get("collection")
        if name is not None:
            assert ids_of(pages_of(path, name)) == [one["id"] for one in features if one.get("collection") == name]
        alone = {f"{number}/item.json": one for number, one in enumerate(features)}
        root = written({"catalog.json": collection("c", *(link("item", f"./{place}") for place in alone)), **alone}, tmp_path / path.stem)
        assert ids_of(pages_of(root)) == ids


def test_in_a_bucket(server: RangeServer) -> None:
    server.files = {f"/bucket{path}": data for path, data in served(two_collections()).items()}
    how = replace(EFFORT, auth=AuthRef(provider="anonymous", options=(("endpoint", server.url), ("region", "us-east-1"))))
    pages = pages_of("s3://bucket/catalog.json", effort=how)
    assert len(ids_of(pages)) == 28
    assert len(server.log) == sum(page.requests for page in pages) == 31
    del server.files["/bucket/a/i00003/i00003.json"]
    error = error_of("s3://bucket/catalog.json", effort=how)
    assert isinstance(error, SpecError)
    assert "the item s3://bucket/a/i00003/i00003.json of s3://bucket/a/collection.json" in error.message
    wanted = asked("s3://bucket/catalog.json")
    relative = {"href": "./red.tif"}
    server.files["/bucket/catalog.json"] = json.dumps(item("x", assets={"red": relative})).encode()
    assert hrefs_of(pages_of("s3://bucket/catalog.json", effort=how), wanted) == ["s3://bucket/red.tif"]
