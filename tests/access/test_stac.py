"""Search against a real local API that misbehaves in every way that was seen in the wild. Requests are counted."""

from __future__ import annotations

import gzip
import json
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from rasterloom.access.credentials.secrets import environment_secrets
from rasterloom.access.items.pages import Page
from rasterloom.access.network.hosts import backoff_seconds, retry_after_seconds
from rasterloom.access.network.http import Ask, Web, depth_of, origin_of
from rasterloom.access.sources.stac import search
from rasterloom.errors import AccessDenied, RasterloomError, SpecError, Unavailable, Unreadable
from rasterloom.specs.effort import Effort
from rasterloom.specs.question import Box, Interval
from tests.access.questions import box, day, item, many, question, shard
from tests.servers import Body, Cut, Drip, Gzip, Hang, Html, RangeServer, Redirect, StacServer, Status, free_port

EFFORT = Effort(page_size=10, timeout=5)


@pytest.fixture
def server() -> Iterator[StacServer]:
    with StacServer(many(25)) as running:
        yield running


def pages_of(server: StacServer, effort: Effort = EFFORT, **asked: Any) -> list[Page]:
    wanted = question(server.url, **asked)
    return list(search(wanted, shard(wanted.dates), effort=effort, secrets=environment_secrets))


def ids_of(pages: list[Page]) -> list[str]:
    return [one["id"] for page in pages for one in page.items]


def error_of(server: StacServer, effort: Effort = EFFORT, **asked: Any) -> RasterloomError:
    with pytest.raises(RasterloomError) as caught:
        pages_of(server, effort, **asked)
    assert caught.value.remedy
    return caught.value


def reason_of(server: StacServer) -> str:
    error = error_of(server)
    assert isinstance(error, Unreadable)
    return error.reason


def test_all_pages_and_not_a_request_more(server: StacServer) -> None:
    pages = pages_of(server)
    assert ids_of(pages) == [f"i{number:05}" for number in range(25)]
    assert [len(page.items) for page in pages] == [10, 10, 5]
    assert {page.matched for page in pages} == {25}
    assert [page.requests for page in pages] == [2, 1, 1]
    assert len(server.log) == 4
    assert sum(page.bytes for page in pages) > 1000
    assert [request.method for request in server.searches] == ["POST"] * 3


def test_what_is_sent(server: StacServer) -> None:
    dates = Interval(start=day("2024-06-01"), end=day("2024-06-03"))
    pages_of(server, bbox=Box(west=9, south=49, east=12, north=52), dates=dates, query='{"eo:cloud_cover": {"lt": 20}}')
    sent = server.searches[0].json
    assert sent["collections"] == ["c"]
    assert sent["limit"] == 10
    assert sent["bbox"] == [9, 49, 12, 52]
    assert sent["query"] == {"eo:cloud_cover": {"lt": 20}}
    assert sent["datetime"].startswith("2024-06-01T00:00:00")
    assert set(sent) == {"collections", "limit", "bbox", "query", "datetime"}


def test_the_area_as_a_polygon(server: StacServer) -> None:
    server.items.append(item("far", geometry=box(100, 0, 101, 1), bbox=[100, 0, 101, 1]))
    assert ids_of(pages_of(server, intersects=json.dumps(box(99, -1, 102, 2)))) == ["far"]


def test_the_cell_of_a_shard_is_the_box(server: StacServer) -> None:
    cell = Box(west=0, south=0, east=1, north=1)
    list(search(question(server.url), shard(cell=cell), effort=EFFORT, secrets=environment_secrets))
    assert server.searches[0].json["bbox"] == [0, 0, 1, 1]


def test_page_sizes(server: StacServer) -> None:
    for effort in (Effort(), Effort(max_page_size=7), Effort(page_size=30, max_page_size=20), Effort(page_size=3)):
        pages_of(server, effort)
    first = [request.json["limit"] for request in server.searches if "token" not in request.json]
    assert first == [250, 7, 20, 3]


def test_over_the_antimeridian_it_is_asked_in_two_halves() -> None:
    items = [item("east", geometry=box(176, 0, 177, 1)), item("west", geometry=box(-177, 0, -176, 1)), item("far")]
    both = {"type": "MultiPolygon", "coordinates": [box(179, 0, 180, 1)["coordinates"], box(-180, 0, -179, 1)["coordinates"]]}
    with StacServer([*items, item("both", geometry=both)]) as server:
        pages = pages_of(server, bbox=Box(west=175, south=-1, east=-175, north=2))
        assert sorted(ids_of(pages)) == ["both", "both", "east", "west"]
        assert [request.json["bbox"] for request in server.searches] == [[175, -1, 180, 2], [-180, -1, -175, 2]]
        assert sum(page.duplicates for page in pages) == 1
        assert {page.matched for page in pages} == {None}


def test_next_as_a_token_to_be_merged(server: StacServer) -> None:
    server.merge = True
    assert len(ids_of(pages_of(server))) == 25
    assert all(request.json["collections"] == ["c"] for request in server.searches)


def test_get_where_the_spec_or_the_service_wants_it(server: StacServer) -> None:
    asked = {"bbox": Box(west=9, south=49, east=12, north=52), "query": '{"eo:cloud_cover": {"lt": 20}}'}
    assert len(ids_of(pages_of(server, replace(EFFORT, method="GET"), **asked))) == 25
    server.methods = ("GET",)
    assert len(ids_of(pages_of(server, **asked))) == 25
    server.link_methods = False  # only a refusal tells
    assert len(ids_of(pages_of(server, **asked))) == 25
    assert [request.method for request in server.searches] == ["GET"] * 6 + ["POST"] + ["GET"] * 3


def test_an_empty_page_with_a_next_is_not_the_end(server: StacServer) -> None:
    server.empty_page_at = 1
    pages = pages_of(server)
    assert [len(page.items) for page in pages] == [10, 0, 10, 5]


def test_a_null_next_is_the_end(server: StacServer) -> None:
    server.null_next = True
    assert len(ids_of(pages_of(server))) == 25


def test_a_service_without_count(server: StacServer) -> None:
    server.say_matched = False
    assert [page.matched for page in pages_of(server)] == [None] * 3


def test_the_server_may_give_smaller_pages_than_asked(server: StacServer) -> None:
    server.page_cap = 1
    assert len(ids_of(pages_of(server))) == 25


def test_duplicates_are_reported(server: StacServer) -> None:
    server.duplicate_across_pages = True
    pages = pages_of(server)
    assert [page.duplicates for page in pages] == [0, 1, 1]
    assert len(set(ids_of(pages))) == 25


def test_next_that_leads_back(server: StacServer) -> None:
    server.next_loops = True
    assert reason_of(server) == "paging-loop"
    assert len(server.searches) <= 5


def test_pages_that_bring_nothing_new(server: StacServer) -> None:
    server.repeat_last = 1000
    assert reason_of(server) == "paging-loop"
    assert len(server.searches) == 5


def test_pages_without_end(server: StacServer) -> None:
    server.items = many(3000)
    server.matched = 20
    assert reason_of(server) == "paging-loop"
    assert len(server.searches) <= 13


def test_empty_pages_without_end(server: StacServer) -> None:
    server.items = []
    server.repeat_last = 1000
    assert reason_of(server) == "paging-loop"
    assert len(server.searches) == 10


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "https://evil.example.org/search", "//evil.example.org/search", "http://127.0.0.1:9/search"]
)
def test_next_that_leads_away(server: StacServer, target: str) -> None:
    server.next_href = target
    error = error_of(server)
    assert isinstance(error, Unreadable)
    assert error.reason == "foreign-host"
    assert "page 1" in error.message


def test_headers_go_to_no_other_host(server: StacServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "S3cr3tXYZ")
    effort = replace(EFFORT, headers=(("Authorization", "Bearer ${TOKEN}"),))
    server.bearer = "S3cr3tXYZ"
    with RangeServer({}) as thief:
        server.next_href = f"{thief.url}/search"
        assert isinstance(error_of(server, effort), Unreadable)
        server.next_href = None
        server.faults["/search"] = Redirect(f"{thief.url}/search")
        error = error_of(server, effort)
        assert thief.log == []
    assert isinstance(error, Unreadable)
    assert error.reason == "foreign-host"
    assert "S3cr3tXYZ" not in str(error)


def test_a_redirect_within_the_service_is_followed(server: StacServer) -> None:
    server.faults["/"] = Redirect(f"{server.url}/", times=1)
    assert len(ids_of(pages_of(server))) == 25
    server.faults["/"] = Redirect("/", times=None)
    assert reason_of(server) == "redirect-loop"


def test_headers_by_reference(server: StacServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "S3cr3tXYZ")
    server.bearer = "S3cr3tXYZ"
    effort = replace(EFFORT, headers=(("Authorization", "Bearer ${TOKEN}"),))
    assert len(ids_of(pages_of(server, effort))) == 25
    monkeypatch.delenv("TOKEN")
    assert isinstance(error_of(server, effort), AccessDenied)


def test_denied_is_not_tried_again(server: StacServer) -> None:
    server.bearer = "other"
    error = error_of(server)
    assert isinstance(error, AccessDenied)
    assert "no valid token" in error.message
    assert len(server.log) == 1


def test_busy_servers_are_asked_again(server: StacServer) -> None:
    server.faults["/search"] = Status(503, times=2)
    pages = pages_of(server)
    assert len(ids_of(pages)) == 25
    assert pages[0].requests == 4


def test_a_server_that_stays_down(server: StacServer) -> None:
    server.faults["/search"] = Status(500)
    error = error_of(server, replace(EFFORT, retries=1))
    assert isinstance(error, Unavailable)
    assert "page 1 of the search" in error.message
    assert len(server.searches) == 2


def test_retry_after_is_honoured_in_seconds_and_as_a_date(server: StacServer) -> None:
    server.faults["/search"] = Status(429, retry_after=1, times=1)
    before = time.monotonic()
    assert len(ids_of(pages_of(server))) == 25
    assert 1 <= time.monotonic() - before < 60
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=2.5), usegmt=True)
    server.faults["/search"] = Status(503, retry_after=soon, times=1)
    before = time.monotonic()
    assert len(ids_of(pages_of(server))) == 25
    assert 0.5 <= time.monotonic() - before < 60


def test_a_pause_that_is_too_long_is_an_error(server: StacServer) -> None:
    server.faults["/search"] = Status(429, retry_after=3600)
    error = error_of(server)
    assert isinstance(error, Unavailable)
    assert error.retry_after == 3600
    assert len(server.searches) == 1


def test_a_refused_search_says_why_in_the_words_of_the_server(server: StacServer) -> None:
    server.faults["/search"] = Status(400, body=b'{"code": "BadRequest", "description": "bbox is silly, token=S3cr3tXYZ"}')
    error = error_of(server)
    assert isinstance(error, SpecError)
    assert "bbox is silly" in error.message
    assert "S3cr3tXYZ" not in str(error)
    assert len(server.searches) == 1


def test_a_server_that_repeats_the_key_does_not_make_us_tell_it(server: StacServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "planted-0123456789")
    server.faults["/search"] = Status(403, body=b'{"detail": "the key planted-0123456789 of page 1 is no good"}')
    for headers in ((("Authorization", "Bearer ${TOKEN}"),), (("X-Key", "${TOKEN}"), ("Page", "1"))):
        error = error_of(server, replace(EFFORT, headers=headers))
        assert isinstance(error, AccessDenied)
        assert "the key REDACTED of page 1 is no good" in error.message


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not-json"),
        (b'{"type": "FeatureCollection", "features": [', "not-json"),
        (b"<html>log in</html>", "not-json"),
        (b"\xff\xfe\x00", "not-json"),
        (b"[]", "not-stac"),
        (b'{"type": "FeatureCollection"}', "not-stac"),
        (b'{"features": null}', "not-stac"),
        (b'{"features": ' + b"[" * 100 + b"]" * 100 + b"}", "too-deep"),
        (b'{"features": ' + b"[" * 50_000, "too-deep"),
        (b'{"features": [], "n": ' + b"9" * 10_000 + b"}", "not-json"),
    ],
)
def test_pages_that_are_none(server: StacServer, body: bytes, reason: str) -> None:
    server.raw_page = body
    error = error_of(server)
    assert isinstance(error, Unreadable)
    assert error.reason == reason
    assert "page 1 of the search" in error.message
    assert len(server.searches) == (2 if reason == "not-json" else 1)


def test_a_page_with_a_byte_order_mark_and_nan(server: StacServer) -> None:
    raw = json.dumps({"features": [item(properties={"datetime": "2024-06-01", "x": float("nan")})], "links": []})
    server.raw_page = b"\xef\xbb\xbf" + raw.encode()
    assert pages_of(server)[0].items[0]["properties"]["x"] is None


def test_a_login_page_and_a_page_cut_off_are_tried_again(server: StacServer) -> None:
    server.faults["/search"] = Html(status=200, times=1)
    assert len(ids_of(pages_of(server))) == 25
    server.faults["/search"] = Cut(100, times=1)
    assert len(ids_of(pages_of(server))) == 25


def test_compressed_pages(server: StacServer) -> None:
    server.faults["/search"] = Gzip()
    assert len(ids_of(pages_of(server))) == 25


def test_a_page_of_any_size_is_not_read(server: StacServer) -> None:
    server.raw_page = b" " * (65 << 20)
    assert reason_of(server) == "too-large"


def test_a_server_that_says_nothing(server: StacServer) -> None:
    server.faults["/search"] = Hang(300)
    before = time.monotonic()
    error = error_of(server, replace(EFFORT, timeout=0.3, retries=1))
    assert isinstance(error, Unavailable)
    assert time.monotonic() - before < 60


@pytest.mark.parametrize("after", [0, 400], ids=["head", "body"])
def test_a_server_that_drips_is_given_up_at_the_deadline(server: StacServer, after: int) -> None:
    """No wait on the socket is long, the whole answer would be."""
    server.faults["/"] = Drip(0.02, after=after)
    web = Web(server.url, headers={}, retries=0, timeout=20, deadline=0.5)
    with pytest.raises(Unavailable):
        web.json(Ask(url=server.url))
    assert len(server.log) == 1


def test_a_compressed_page_takes_bounded_memory(server: StacServer) -> None:
    """A GiB in one MB: decoding stops where the page is too large."""
    bomb = gzip.compress(bytes(16 << 20)) * 64
    server.faults["/"] = Body(lambda _: bomb, headers={"Content-Encoding": "gzip"})
    tracemalloc.start()
    try:
        with pytest.raises(Unreadable) as caught:
            Web(server.url, headers={}, retries=0).json(Ask(url=server.url))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.reason == "too-large"
    assert peak < 400 << 20


def test_nobody_there() -> None:
    with pytest.raises(Unavailable):
        list(search(question(f"http://127.0.0.1:{free_port()}"), shard(), effort=Effort(retries=0), secrets=environment_secrets))


@pytest.mark.parametrize("url", ["ftp://h.org", "h.org", "file:///etc/passwd", "http://[::1", "https://h.org:99999"])
def test_no_url_of_a_service(url: str) -> None:
    with pytest.raises(SpecError):
        list(search(question(url), shard(), effort=EFFORT, secrets=environment_secrets))


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"7", b'{"type": "Feature", "id": "x"}', b'{"type": "Catalog", "id": 7, "links": 8, "stac_version": "1.0.0"}']
)
def test_no_landing_page(server: StacServer, body: bytes) -> None:
    server.faults["/"] = Status(200, body=body)
    assert isinstance(error_of(server), SpecError)


def test_wrong_address(server: StacServer) -> None:
    wanted = question(f"{server.url}/nowhere")
    with pytest.raises(SpecError, match="nothing here"):
        list(search(wanted, shard(), effort=EFFORT, secrets=environment_secrets))


def test_items_that_were_lost_once_are_found_by_the_second_look(server: StacServer) -> None:
    server.drop, server.drop_searches = 3, 1
    pages = pages_of(server)
    assert len(set(ids_of(pages))) == 25
    assert len(server.searches) == 6


def test_items_that_stay_lost_are_an_error(server: StacServer) -> None:
    server.drop = 3
    error = error_of(server)
    assert isinstance(error, Unavailable)
    assert "incomplete result" in error.message
    assert "25" in error.message
    assert "22" in error.message
    assert len(server.searches) == 6


def test_a_service_that_counts_its_duplicates_is_whole_when_it_says_the_same_twice() -> None:
    twins = [*many(5), *many(5)]
    with StacServer(twins) as server:
        pages = pages_of(server)
        assert len(set(ids_of(pages))) == 5


def test_features_that_are_no_objects_reach_the_caller(server: StacServer) -> None:
    server.raw_page = json.dumps({"features": [7, None, item()]}).encode()
    assert len(pages_of(server)[0].items) == 3


def test_retry_after_texts() -> None:
    now = datetime(2024, 6, 1, tzinfo=UTC)
    assert retry_after_seconds("7", now=now) == 7
    assert retry_after_seconds("Sat, 01 Jun 2024 00:01:00 GMT", now=now) == 60
    assert retry_after_seconds("Sat, 01 Jun 2023 00:01:00 GMT", now=now) == 0
    assert [retry_after_seconds(text, now=now) for text in (None, "", "soon", "-5")] == [None] * 4


def test_backoff_has_full_jitter_and_a_bound() -> None:
    waits = [backoff_seconds(attempt) for attempt in range(1, 40)]
    assert all(0 <= wait <= 20 for wait in waits)
    assert len(set(waits)) > 30


def test_depth_is_counted_outside_of_texts() -> None:
    assert depth_of(b'{"a": [1, {"b": "]]]{{{\\"[["}]}') == 3
    assert depth_of(b"") == 0


def test_origins() -> None:
    assert origin_of("https://H.org/x") == origin_of("https://h.org:443/y")
    assert origin_of("http://h.org") != origin_of("https://h.org")
    assert str(origin_of("http://h.org:8080")) == "http://h.org:8080"
