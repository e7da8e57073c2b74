"""A STAC API and a range server in one thread on 127.0.0.1: the demo's stand-in for a provider. Counts what it is asked for."""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

from rasterloom.access.network.ports import PORTS
from rasterloom.demo.scenes import COLLECTION, Archive
from rasterloom.errors import Unavailable

PAGE = 4
"""Items of a page at the most: few, so that the demo has something to page through."""

_CONFORMANCE = [
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/item-search#query",
]
_COMPARE = {
    "eq": lambda a, b: a == b,
    "neq": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What was asked for up to now."""

    searches: int = 0
    """Pages of items."""
    ranges: int = 0
    """Requests for a part of a file, answered or not."""
    bytes: int = 0
    """Bytes of files that were sent."""

    def __sub__(self, earlier: Count) -> Count:
        return Count(searches=self.searches - earlier.searches, ranges=self.ranges - earlier.ranges, bytes=self.bytes - earlier.bytes)


@dataclass(slots=True)
class _Book:
    """The running count, under a lock because every request has its own thread."""

    count: Count = Count()
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, *, searches: int = 0, ranges: int = 0, sent: int = 0) -> None:
        with self.lock:
            count = self.count
            self.count = Count(searches=count.searches + searches, ranges=count.ranges + ranges, bytes=count.bytes + sent)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, archive: Archive, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.archive = archive
        self.book = _Book()

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@dataclass(frozen=True, slots=True)
class Provider:
    """A running server."""

    _server: _Server

    @property
    def url(self) -> str:
        """Landing page of the STAC API."""
        return f"{self._server.root}/stac"

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def count(self) -> Count:
        return self._server.book.count


@contextmanager
def serving(archive: Archive, *, port: int | None = None) -> Generator[Provider]:
    """Serves the archive until the block ends, on a free port unless one is given. Raises Unavailable where that one is taken."""
    server = _begun(archive, random.SystemRandom().sample(PORTS, 50) if port is None else [port])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield Provider(server)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _begun(archive: Archive, ports: Sequence[int]) -> _Server:
    """On the first of them that can be had."""
    for port in ports[:-1]:
        with suppress(OSError):
            return _Server(archive, port)
    try:
        return _Server(archive, ports[-1])
    except OSError as error:
        message = f"port {ports[-1]} cannot be had: {error.strerror}"
        raise Unavailable(message, remedy="stop what listens there, or make a new demo") from error


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Without this every small answer waits 40 ms for the client's delayed acknowledgement.
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, format: str, *args: object) -> None:
        """Silence: the count says it all."""

    @property
    def _server(self) -> _Server:
        return cast(_Server, self.server)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path.startswith("/files/"):
            self._file(url.path.removeprefix("/files/"))
        elif url.path == "/stac/search":
            self._search({key: values[-1] for key, values in parse_qs(url.query).items()})
        else:
            self._page(url.path.rstrip("/"))

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if urlsplit(self.path).path == "/stac/search":
            self._search(json.loads(body))
        else:
            self._json({"code": "NotFound"}, HTTPStatus.NOT_FOUND)

    def _page(self, path: str) -> None:
        pages = {
            "/stac": _landing(self._server.root),
            "/stac/conformance": {"conformsTo": _CONFORMANCE},
            "/stac/collections": {"collections": [_collection()], "links": []},
            f"/stac/collections/{COLLECTION}": _collection(),
        }
        known = path in pages
        self._json(pages[path] if known else {"code": "NotFound"}, HTTPStatus.OK if known else HTTPStatus.NOT_FOUND)

    def _search(self, asked: dict[str, Any]) -> None:
        self._server.book.add(searches=1)
        found = [item for item in self._server.archive.items if _answers(item, asked)]
        start, limit = int(asked.get("token", 0)), min(int(asked.get("limit", PAGE)), PAGE)
        links = [_next(self._server.root, asked, start + limit)] if start + limit < len(found) else []
        features = [_with_hrefs(item, self._server.root) for item in found[start : start + limit]]
        document = {"type": "FeatureCollection", "numberMatched": len(found), "features": features, "links": links}
        self._json(document, HTTPStatus.OK)

    def _file(self, name: str) -> None:
        path = self._server.archive.directory / name
        if ".." in name or not path.is_file():
            self._server.book.add(ranges=1)
            self._answer(HTTPStatus.NOT_FOUND, b"no such file", {"Content-Type": "text/plain"})
        else:
            self._range(path)

    def _range(self, path: Path) -> None:
        size = path.stat().st_size
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "bytes=0-"))
        start, end = (int(wanted[1]), min(int(wanted[2] or size - 1), size - 1)) if wanted else (0, size - 1)
        with path.open("rb") as file:
            file.seek(start)
            body = file.read(max(end - start + 1, 0))
        self._server.book.add(ranges=1, sent=len(body))
        kind = {"Content-Type": "image/tiff", "Accept-Ranges": "bytes", "Content-Range": f"bytes {start}-{end}/{size}"}
        self._answer(HTTPStatus.PARTIAL_CONTENT if "Range" in self.headers else HTTPStatus.OK, body, kind)

    def _json(self, document: dict[str, Any], status: HTTPStatus) -> None:
        self._answer(status, json.dumps(document).encode(), {"Content-Type": "application/geo+json"})

    def _answer(self, status: HTTPStatus, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _landing(root: str) -> dict[str, Any]:
    links = [
        {"rel": "self", "href": f"{root}/stac"},
        {"rel": "root", "href": f"{root}/stac"},
        {"rel": "conformance", "href": f"{root}/stac/conformance"},
        {"rel": "data", "href": f"{root}/stac/collections"},
        {"rel": "search", "href": f"{root}/stac/search", "method": "GET", "type": "application/geo+json"},
        {"rel": "search", "href": f"{root}/stac/search", "method": "POST", "type": "application/geo+json"},
    ]
    return {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": "rasterloom-demo",
        "description": "Sample scenes made by rasterloom demo",
        "conformsTo": _CONFORMANCE,
        "links": links,
    }


def _collection() -> dict[str, Any]:
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": COLLECTION,
        "description": "An invented coast, seen as Sentinel-2 would see it",
        "license": "CC0-1.0",
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
        "links": [],
    }


def _answers(item: dict[str, Any], asked: dict[str, Any]) -> bool:
    return (
        item["collection"] in _listed(asked.get("collections", COLLECTION))
        and _meets(item["bbox"], asked.get("bbox"))
        and _within(item["properties"]["datetime"], asked.get("datetime"))
        and _fits(item["properties"], asked.get("query"))
    )


def _listed(value: str | list[str]) -> list[str]:
    return value.split(",") if isinstance(value, str) else value


def _meets(box: list[float], asked: str | list[float] | None) -> bool:
    if asked is None:
        return True
    west, south, east, north = map(float, asked.split(",") if isinstance(asked, str) else asked)
    return box[0] <= east and west <= box[2] and box[1] <= north and south <= box[3]


def _within(when: str, asked: str | None) -> bool:
    if asked is None:
        return True
    start, _, end = asked.partition("/")
    return _instant(start, 1) <= _instant(when, 1) <= _instant(end or start, 9999)


def _instant(text: str, open_year: int) -> datetime:
    return datetime(open_year, 1, 1, tzinfo=UTC) if text in ("", "..") else datetime.fromisoformat(text.replace("Z", "+00:00"))


def _fits(properties: dict[str, Any], asked: str | dict[str, Any] | None) -> bool:
    query = json.loads(asked) if isinstance(asked, str) else asked or {}
    return all(_COMPARE[operator](properties[name], value) for name, tests in query.items() for operator, value in tests.items())


def _next(root: str, asked: dict[str, Any], start: int) -> dict[str, Any]:
    body = {**asked, "token": str(start)}
    return {"rel": "next", "href": f"{root}/stac/search", "method": "POST", "type": "application/geo+json", "body": body}


def _with_hrefs(item: dict[str, Any], root: str) -> dict[str, Any]:
    assets = {key: {**asset, "href": f"{root}/files/{asset['href']}"} for key, asset in item["assets"].items()}
    return {**item, "assets": assets}
