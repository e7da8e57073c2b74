"""What a STAC API does wrong, one fault at a time, and what comes of it (see tests/access/faults.py)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from rasterloom.errors import AccessDenied, SpecError, Unavailable, Unreadable
from tests.access.faults import Aborted, Built, Case, check, newest, rows_of
from tests.access.world import JUNE, World
from tests.servers import Cut, Fault, Gzip, Hang, Html, RangeServer, Redirect, Request, Response, StacServer, Status

Hurt = Callable[[World], None]


def search(fault: Callable[[], Fault]) -> Hurt:
    """Each search is answered with this."""
    return lambda world: world.stac.faults.update({"/search": fault()})


def landing(fault: Callable[[], Fault]) -> Hurt:
    return lambda world: world.stac.faults.update({"/": fault()})


def knobs(**values: Any) -> Hurt:
    """Attributes of the server."""

    def hurt(world: World) -> None:
        for name, value in values.items():
            setattr(world.stac, name, value)

    return hurt


def body(content: bytes) -> Hurt:
    return knobs(raw_page=content)


def page(*features: Any) -> bytes:
    return json.dumps({"type": "FeatureCollection", "features": features, "links": []}).encode()


def in_an_hour() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)


class Pages(Fault):
    """Changes the document of a page, which has a number from 0 on."""

    def __init__(self, change: Callable[[dict[str, Any], int], None]) -> None:
        super().__init__()
        self.change, self.number = change, -1

    def apply(self, request: Request, good: Response) -> Response:
        document = json.loads(good.body)
        self.number += 1
        self.change(document, self.number)
        return Response(good.status, json.dumps(document).encode(), good.headers)


def pages(change: Callable[[dict[str, Any], int], None]) -> Hurt:
    return lambda world: world.stac.faults.update({"/search": Pages(change)})


def twice(document: dict[str, Any], _: int) -> None:
    document["features"] *= 2


def other_content(document: dict[str, Any], _: int) -> None:
    """The last item once more, with another content and an older `updated`."""
    if document["features"]:
        newer = json.loads(json.dumps(document["features"][-1]))
        newer["properties"] |= {"updated": "2024-09-02T00:00:00Z", "eo:cloud_cover": 99.0}
        document["features"][-1]["properties"]["updated"] = "2024-09-01T00:00:00Z"
        document["features"].insert(0, newer)


def newest_wins(world: World) -> None:
    assert rows_of(world)["scene-004"]["eo:cloud_cover"] == 99.0


class Encoded(Fault):
    """A body that is said to be encoded."""

    def __init__(self, data: bytes, encoding: str = "gzip") -> None:
        super().__init__()
        self.data, self.encoding = data, encoding

    def apply(self, request: Request, good: Response) -> Response:
        return Response(200, self.data, {"Content-Encoding": self.encoding, "Content-Type": "application/geo+json"})


class Before(Fault):
    """These bytes before the body."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.data = data

    def apply(self, request: Request, good: Response) -> Response:
        return Response(good.status, self.data + good.body, good.headers)


def vanishing(world: World) -> None:
    """An item of the first page is taken away while the second is asked for: the next one slips over the edge."""

    def change(_: dict[str, Any], number: int) -> None:
        if number == 0:
            world.stac.items = [item for item in world.stac.items if item["id"] != "scene-000"]

    world.stac.page_cap = 1
    world.stac.faults["/search"] = Pages(change)


def growing(world: World) -> None:
    """An item appears before all others while the second page is asked for: one of the first page comes again."""
    everything = list(world.stac.items)

    def change(_: dict[str, Any], number: int) -> None:
        if number == 0:
            world.stac.items = everything

    world.stac.items = everything[1:]
    world.stac.page_cap = 1
    world.stac.faults["/search"] = Pages(change)


def one_item(world: World) -> None:
    world.stac.raw_page = json.dumps(newest(world)).encode()


def nothing_for_ever(world: World) -> None:
    world.stac.items = []
    world.stac.repeat_last = 1000


def many_more(world: World) -> None:
    """Item after item, and a count of one."""
    for number in range(5, 40):
        world.add(number, JUNE)
    world.stac.matched = world.stac.page_cap = 1


def elsewhere(world: World) -> None:
    """The server does not heed the area."""
    far = json.loads(json.dumps(newest(world)))
    far |= {"id": "far", "bbox": [100, 0, 101, 1], "geometry": {"type": "Point", "coordinates": [100.5, 0.5]}}
    world.stac.items.append(far)
    world.stac.ignore_bbox = True


def strangers(document: dict[str, Any], _: int) -> None:
    """Items of another collection, and of another time."""
    if document["features"]:
        other = json.loads(json.dumps(document["features"][0]))
        late = json.loads(json.dumps(other))
        late["properties"]["datetime"] = "2031-01-01T00:00:00Z"
        document["features"] += [other | {"id": "other", "collection": "other"}, late | {"id": "late"}]
        document["numberMatched"] += 2


def thief(world: World) -> None:
    world.stac.next_href = "http://127.0.0.1:9/search"


CASES = [
    # --- the landing page
    Case("landing 404", landing(lambda: Status(404)), Aborted(SpecError, "404"), requests=2),
    Case("landing 500", landing(lambda: Status(500)), Aborted(Unavailable, "500"), requests=2),
    Case("landing 401", landing(lambda: Status(401)), Aborted(AccessDenied, "401"), requests=1),
    Case("landing is a web page", landing(lambda: Html(status=200)), Aborted(Unreadable, "not-json"), requests=2),
    Case("landing cut off", landing(lambda: Cut(20)), Aborted(Unavailable), requests=2),
    Case("landing is no catalog", landing(lambda: Status(200, body=b'{"a": 1}')), Aborted(SpecError, "landing page"), requests=2),
    Case("landing once unavailable", landing(lambda: Status(503, times=1)), Built()),
    Case("landing without a search link", knobs(methods=()), Aborted(SpecError), requests=4),
    Case("landing leads away", landing(lambda: Redirect("http://127.0.0.1:9/")), Aborted(Unreadable, "foreign-host"), requests=1),
    # --- statuses of a search
    Case(
        "400 with words",
        search(lambda: Status(400, body=b'{"description": "bbox is silly"}')),
        Aborted(SpecError, "bbox is silly"),
        requests=3,
    ),
    Case("401", search(lambda: Status(401)), Aborted(AccessDenied, "401"), requests=2),
    Case("403", search(lambda: Status(403)), Aborted(AccessDenied, "403"), requests=2),
    Case("404", search(lambda: Status(404)), Aborted(SpecError, "404"), requests=3),
    Case("409", search(lambda: Status(409)), Aborted(SpecError, "409"), requests=3),
    Case("413", search(lambda: Status(413)), Aborted(SpecError, "413"), requests=3),
    Case("422", search(lambda: Status(422)), Aborted(SpecError, "422"), requests=3),
    Case("405 to POST", knobs(methods=("GET",), link_methods=False), Built()),
    Case("501 to everything", search(lambda: Status(501)), Aborted(SpecError, "501"), requests=4),
    Case("408 once", search(lambda: Status(408, times=1)), Built()),
    Case("429 once", search(lambda: Status(429, times=1)), Built()),
    Case("429 with a pause", search(lambda: Status(429, retry_after=1, times=1)), Built()),
    Case("429 for ever", search(lambda: Status(429)), Aborted(Unavailable, "429"), requests=3),
    Case("429 for an hour", search(lambda: Status(429, retry_after=3600)), Aborted(Unavailable, "left alone for 3600 s"), requests=2),
    Case("503 until a date", search(lambda: Status(503, retry_after=in_an_hour())), Aborted(Unavailable, "left alone"), requests=2),
    Case("500 once", search(lambda: Status(500, times=1)), Built()),
    Case("500 for ever", search(lambda: Status(500)), Aborted(Unavailable, "500"), requests=3),
    Case("502 for ever", search(lambda: Status(502)), Aborted(Unavailable, "502"), requests=3),
    Case("503 for ever", search(lambda: Status(503)), Aborted(Unavailable, "503"), requests=3),
    Case("504 for ever", search(lambda: Status(504)), Aborted(Unavailable, "504"), requests=3),
    # --- transport
    Case("cut once", search(lambda: Cut(100, times=1)), Built()),
    Case("cut for ever", search(lambda: Cut(100)), Aborted(Unavailable), requests=3),
    Case("closed without a word", search(lambda: Cut(0)), Aborted(Unavailable), requests=3),
    Case("hangs", search(lambda: Hang(60)), Aborted(Unavailable), requests=3, effort={"timeout": 0.3}),
    Case("gzip", search(Gzip), Built()),
    Case("gzip that is none", search(lambda: Encoded(b"no gzip")), Aborted(Unreadable, "bad-encoding"), requests=3),
    Case("gzip bomb", search(lambda: Encoded(gzip.compress(bytes(70 << 20)))), Aborted(Unreadable, "too-large"), requests=2),
    Case(
        "redirect to another host", search(lambda: Redirect("http://127.0.0.1:9/search")), Aborted(Unreadable, "foreign-host"), requests=2
    ),
    Case("an encoding that was not asked for", search(lambda: Encoded(b"x", "zstd")), Aborted(Unreadable, "bad-encoding"), requests=2),
    Case("redirect without end", search(lambda: Redirect("/search")), Aborted(Unreadable, "redirect-loop"), requests=7),
    # --- documents
    Case("empty body", body(b""), Aborted(Unreadable, "not-json"), requests=3),
    Case("truncated JSON", body(page()[:-20]), Aborted(Unreadable, "not-json"), requests=3),
    Case("a login page once", search(lambda: Html(status=200, times=1)), Built()),
    Case("a login page", search(lambda: Html(status=200)), Aborted(Unreadable, "not-json"), requests=3),
    Case("no UTF-8", body(b'{"features": "\xff"}'), Aborted(Unreadable, "not-json"), requests=3),
    Case("a byte order mark", search(lambda: Before(b"\xef\xbb\xbf")), Built()),
    Case("a list", body(b"[]"), Aborted(Unreadable, "not-stac"), requests=2),
    Case("a number", body(b"7"), Aborted(Unreadable, "not-stac"), requests=2),
    Case("features are missing", body(b'{"type": "FeatureCollection"}'), Aborted(Unreadable, "not-stac"), requests=2),
    Case("features are null", body(b'{"features": null}'), Aborted(Unreadable, "not-stac"), requests=2),
    Case("one item in place of a page", one_item, Aborted(Unreadable, "not-stac"), requests=2),
    Case("nested without end", body(b'{"features": ' + b"[" * 50_000), Aborted(Unreadable, "too-deep"), requests=2),
    Case("a number without end", body(b'{"features": [], "n": ' + b"9" * 10_000 + b"}"), Aborted(Unreadable, "not-json"), requests=3),
    Case("more than 64 MiB", body(b" " * (65 << 20)), Aborted(Unreadable, "too-large"), requests=2),
    # --- paging
    Case("next leads back", knobs(next_loops=True), Aborted(Unreadable, "paging-loop"), requests=6),
    Case("next leads to another host", thief, Aborted(Unreadable, "foreign-host"), requests=2),
    Case("next is a file", knobs(next_href="file:///etc/passwd"), Aborted(Unreadable, "foreign-host"), requests=2),
    Case("next is null", knobs(null_next=True), Built()),
    Case("an empty page with a next", knobs(empty_page_at=1), Built()),
    Case("empty pages without end", nothing_for_ever, Aborted(Unreadable, "paging-loop"), requests=12),
    Case("the last page without end", knobs(repeat_last=1000), Aborted(Unreadable, "paging-loop"), requests=6),
    Case("more pages than are counted", many_more, Aborted(Unreadable, "paging-loop"), requests=16),
    Case("pages overlap", knobs(duplicate_across_pages=True), Built()),
    Case("every item twice", pages(twice), Built()),
    Case("an item twice with another content", pages(other_content), Built(), also=newest_wins),
    Case("an item appears while paging", growing, Built()),
    Case("an item vanishes while paging", vanishing, Built()),
    Case("items lost in one search", knobs(drop=1, drop_searches=1), Built()),
    Case("items lost in every search", knobs(drop=1), Aborted(Unavailable, "incomplete result"), requests=12),
    Case("no numberMatched", knobs(say_matched=False), Built()),
    Case("numberMatched is a text", pages(lambda document, _: document.update(numberMatched="five")), Built()),
    Case("numberMatched is negative", pages(lambda document, _: document.update(numberMatched=-1)), Built()),
    Case("pages smaller than asked", knobs(page_cap=1), Built()),
    # --- filters that are not heeded
    Case("bbox is ignored", elsewhere, Built()),
    Case("collections and datetime are ignored", pages(strangers), Built()),
]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with StacServer() as stac, RangeServer({}) as files:
        yield World(stac, files, tmp_path / "ws")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_a_search_that_goes_wrong(world: World, case: Case) -> None:
    check(world, case)
