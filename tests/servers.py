"""Local servers for every test: files with ranges, and a STAC API; each with a log of what it was asked, and faults on demand.

    with RangeServer(folder) as files:
        files.faults["/a.tif"] = Status(503, times=2)
        ...
        assert len(files.log) == 3

Raw sockets and one thread per connection: thousands of requests per second, so that tests can count rather than wait.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import os
import secrets
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import shapely

_PHRASES = {200: "OK", 206: "Partial Content", 302: "Found", 404: "Not Found", 416: "Range Not Satisfiable", 503: "Service Unavailable"}


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str
    """As it came: path, encoded, with the query."""
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    at: float
    """`time.monotonic()` when it had come in whole."""

    @property
    def path(self) -> str:
        """Decoded path without the query."""
        return unquote(self.target.partition("?")[0])

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def range(self) -> tuple[int, int | None] | None:
        """First and last byte of the Range header."""
        text = self.headers.get("range", "")
        if not text.startswith("bytes="):
            return None
        first, _, last = text.removeprefix("bytes=").partition("-")
        return int(first), int(last) if last else None

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Response:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    cut_after: int | None = None
    """Send so many bytes of the body, then close the connection."""
    pause: float = 0.0
    """Seconds before anything is sent."""
    drip: float = 0.0
    """Seconds between two bytes of head and body, but for the first `drip_after`."""
    drip_after: int = 0


class _TCPServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 512
    block_on_close = False
    owner: Server

    def get_request(self) -> tuple[socket.socket, Any]:
        plain, address = super().get_request()
        if self.owner.tls is None:
            return plain, address
        # the handshake is for the connection's own thread
        return self.owner.tls.wrap_socket(plain, server_side=True, do_handshake_on_connect=False), address


class _Connection(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True
    rbufsize = 1 << 16
    wbufsize = 1 << 16
    server: _TCPServer

    def handle(self) -> None:
        try:
            while self._exchange():
                pass
        except OSError:
            return

    def finish(self) -> None:
        with suppress(OSError):  # the client has gone, and left what was to be sent to it
            super().finish()

    def _exchange(self) -> bool:
        line = self.rfile.readline(65536)
        parts = line.decode("latin-1").split()
        if len(parts) != 3:
            return False
        headers: dict[str, str] = {}
        while (header := self.rfile.readline(65536)) not in (b"\r\n", b"\n", b""):
            name, _, value = header.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        body = self.rfile.read(int(headers.get("content-length", 0)))
        request = Request(parts[0], parts[1], headers, body, time.monotonic())
        response = self.server.owner.answer(request)
        if response.pause and self.server.owner.stopping.wait(response.pause):
            return False
        return self._send(request, response)

    def _send(self, request: Request, response: Response) -> bool:
        phrase = _PHRASES.get(response.status, "Answer")
        lines = [f"HTTP/1.1 {response.status} {phrase}"]
        length = {} if "Transfer-Encoding" in response.headers else {"Content-Length": str(len(response.body))}
        headers = {**length, **response.headers}
        lines += [f"{name}: {value}" for name, value in headers.items()]
        sent = response.body if response.cut_after is None else response.body[: response.cut_after]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        whole = head if request.method == "HEAD" else head + sent
        if response.drip:
            self.wfile.write(whole[: response.drip_after])
            return self._dripped(whole[response.drip_after :], response.drip)
        self.wfile.write(whole)
        self.wfile.flush()
        return response.cut_after is None

    def _dripped(self, data: bytes, seconds: float) -> bool:
        for at in range(len(data)):
            self.wfile.write(data[at : at + 1])
            self.wfile.flush()
            if self.server.owner.stopping.wait(seconds):
                return False
        return True


class Server:
    """A server on a free port of this machine, as a context manager. `log` holds every request in the order they came."""

    def __init__(self, *, latency: float = 0.0) -> None:
        self.latency = latency
        self.log: list[Request] = []
        self.stopping = threading.Event()
        self.tls: ssl.SSLContext | None = None
        """Speak https with this."""
        self._server = _TCPServer(("127.0.0.1", 0), _Connection)
        self._server.owner = self

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """Without a trailing slash."""
        return f"http://{self.host}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def has_heard_all(self) -> None:
        """When what was on its way has come in: also what a process sent right before it was killed. Nobody else may be asking."""
        looks, heard = 0, len(self.log)
        while looks < 25:
            time.sleep(0.02)
            looks, heard = (looks + 1 if len(self.log) == heard else 0), len(self.log)

    def answer(self, request: Request) -> Response:
        self.log.append(request)
        if self.latency:
            time.sleep(self.latency)
        return self.respond(request)

    def respond(self, request: Request) -> Response:
        raise NotImplementedError


PORTS = range(11_000, 20_000)
"""Linux gives none of these to a client, nor for port 0, and no temporary server of Prefect has them: nobody comes upon one by chance, also
while a killed server is not yet back."""
_given: set[int] = set()


def free_port() -> int:
    """A port nobody listens on, now or later, but for who asked for it here."""
    mine = PORTS[int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 8 :: 8]  # other processes of this pytest take others
    while True:
        port = secrets.choice(mine)  # `random` is seeded by Hypothesis
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port


# --- faults -----------------------------------------------------------------------------------------------------------------------


class Fault:
    """Changes the answer to the first `times` requests for a path (default: to all)."""

    def __init__(self, *, times: int | None = None) -> None:
        self._lock = threading.Lock()
        self._left = times

    def strikes(self) -> bool:
        with self._lock:
            if self._left is None:
                return True
            self._left -= 1
            return self._left >= 0

    def apply(self, request: Request, good: Response) -> Response:
        raise NotImplementedError


class Status(Fault):
    """An error status, with a Retry-After where asked."""

    def __init__(self, status: int, *, retry_after: str | int | None = None, body: bytes = b"no", times: int | None = None) -> None:
        super().__init__(times=times)
        self.status, self.body = status, body
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}

    def apply(self, request: Request, good: Response) -> Response:
        return Response(self.status, self.body, dict(self.headers))


class Html(Fault):
    """A login page with status 200 or 206, whatever was asked."""

    def __init__(self, *, status: int = 206, times: int | None = None) -> None:
        super().__init__(times=times)
        self.status = status

    def apply(self, request: Request, good: Response) -> Response:
        body = b"<!DOCTYPE html><html><body>Please log in</body></html>"
        headers = {"Content-Type": "text/html"}
        if self.status == 206:
            headers["Content-Range"] = f"bytes 0-{len(body) - 1}/{len(body)}"
        return Response(self.status, body, headers)


class Body(Fault):
    """Another body behind the same headers: short, empty, or replaced, with an honest Content-Length."""

    def __init__(self, change: Callable[[bytes], bytes], *, headers: Mapping[str, str] | None = None, times: int | None = None) -> None:
        super().__init__(times=times)
        self.change, self.headers = change, headers or {}

    def apply(self, request: Request, good: Response) -> Response:
        return Response(good.status, self.change(good.body), {**good.headers, **self.headers})


class Cut(Fault):
    """The connection breaks after so many bytes of the body."""

    def __init__(self, after: int, *, times: int | None = None) -> None:
        super().__init__(times=times)
        self.after = after

    def apply(self, request: Request, good: Response) -> Response:
        return Response(good.status, good.body, good.headers, cut_after=self.after)


class Hang(Fault):
    """Nothing for so many seconds, then the answer."""

    def __init__(self, seconds: float, *, times: int | None = None) -> None:
        super().__init__(times=times)
        self.seconds = seconds

    def apply(self, request: Request, good: Response) -> Response:
        return Response(good.status, good.body, good.headers, pause=self.seconds)


class Acting(Fault):
    """Changes nothing, and acts before it gives the `at`-th answer: whoever asked is in the middle of something, on any machine."""

    def __init__(self, at: int, act: Callable[[], None]) -> None:
        super().__init__()
        self._numbers = itertools.count(1)
        self._at, self._act = at, act

    def apply(self, request: Request, good: Response) -> Response:
        if next(self._numbers) == self._at:
            self._act()
        return good


class Drip(Fault):
    """Byte by byte, with so many seconds between two: no single wait is long. The first `after` bytes come at once."""

    def __init__(self, seconds: float, *, after: int = 0, times: int | None = None) -> None:
        super().__init__(times=times)
        self.seconds, self.after = seconds, after

    def apply(self, request: Request, good: Response) -> Response:
        return Response(good.status, good.body, good.headers, drip=self.seconds, drip_after=self.after)


class Gzip(Fault):
    """A compressed body that nobody asked for."""

    def apply(self, request: Request, good: Response) -> Response:
        return Response(good.status, gzip.compress(good.body), {**good.headers, "Content-Encoding": "gzip"})


class Redirect(Fault):
    def __init__(self, location: str, *, status: int = 302, times: int | None = None) -> None:
        super().__init__(times=times)
        self.location, self.status = location, status

    def apply(self, request: Request, good: Response) -> Response:
        return Response(self.status, b"", {"Location": self.location})


class NoRange(Fault):
    """Ignores Range: 200 and the whole file. Needs the server's help, see RangeServer."""

    def apply(self, request: Request, good: Response) -> Response:
        return good


# --- files ------------------------------------------------------------------------------------------------------------------------


class RangeServer(Server):
    """The files of a folder, or of a mapping from path (`/a.tif`) to bytes, with Range, 206, 416 and ETag.

    `faults` maps a decoded path, or `*` for all, to a `Fault`. `files` may be changed while it runs.
    """

    def __init__(self, root: Path | Mapping[str, bytes], *, latency: float = 0.0) -> None:
        super().__init__(latency=latency)
        self.root = root if isinstance(root, Path) else None
        self.files: dict[str, bytes] = {} if isinstance(root, Path) else dict(root)
        self.faults: dict[str, Fault] = {}
        self._etags: dict[int, tuple[bytes, str]] = {}

    def requests_of(self, path: str) -> list[Request]:
        return [request for request in self.log if request.path == path]

    def respond(self, request: Request) -> Response:
        fault = self.faults.get(request.path) or self.faults.get("*")
        if fault is not None and not fault.strikes():
            fault = None
        data = self._data(request.path)
        good = Response(404, b"not here") if data is None else self._ranged(request, data, whole=isinstance(fault, NoRange))
        return good if fault is None else fault.apply(request, good)

    def _data(self, path: str) -> bytes | None:
        if path not in self.files and self.root is not None:
            file = (self.root / path.lstrip("/")).resolve()
            if not file.is_relative_to(self.root.resolve()) or not file.is_file():
                return None
            self.files[path] = file.read_bytes()
        return self.files.get(path)

    def _ranged(self, request: Request, data: bytes, *, whole: bool) -> Response:
        headers = {"Content-Type": "image/tiff", "ETag": self._etag(data), "Accept-Ranges": "bytes"}
        if request.headers.get("if-match", headers["ETag"]) not in (headers["ETag"], "*"):
            return Response(412, b"changed")
        asked = None if whole else request.range
        if asked is None:
            return Response(200, data, headers)
        first, last = asked
        if first >= len(data):
            return Response(416, b"", {"Content-Range": f"bytes */{len(data)}"})
        end = min(len(data), len(data) if last is None else last + 1)
        return Response(206, data[first:end], {**headers, "Content-Range": f"bytes {first}-{end - 1}/{len(data)}"})

    def _etag(self, data: bytes) -> str:
        known = self._etags.get(id(data))
        if known is None or known[0] is not data:
            known = self._etags[id(data)] = (data, f'"{hashlib.sha256(data).hexdigest()[:16]}"')
        return known[1]


# --- STAC -------------------------------------------------------------------------------------------------------------------------

_CORE = "https://api.stacspec.org/v1.0.0"
_CONFORMANCE = [f"{_CORE}/{name}" for name in ("core", "collections", "item-search", "ogcapi-features", "item-search#query")]


class StacServer(Server):
    """A STAC API over items in memory: landing page, collections, GET and POST /search with bbox (over the antimeridian too),
    intersects, datetime, ids, collections, query, limit and token paging.

    Every knob is an attribute that may be turned while it runs.
    """

    def __init__(self, items: Sequence[Mapping[str, Any]] = (), *, latency: float = 0.0) -> None:
        super().__init__(latency=latency)
        self.items: list[dict[str, Any]] = [dict(item) for item in items]
        self.page_cap = 10_000
        """The server's own limit of a page."""
        self.say_matched = True
        self.matched: int | None = None
        """Lie about numberMatched."""
        self.ignore_query = False
        self.ignore_bbox = False
        self.methods = ("GET", "POST")
        self.link_methods = True
        """Name the methods in the search links."""
        self.merge = False
        """`next` of a POST has only the token, with `merge: true`."""
        self.next_href: str | None = None
        """Foreign or odd `next` instead of the true one."""
        self.next_loops = False
        """`next` leads back to the first page."""
        self.null_next = False
        self.empty_page_at: int | None = None
        """Put an empty page with a `next` before the page of this 0-based number."""
        self.repeat_last = 0
        """So many pages more that repeat the last one, with tokens of their own."""
        self.drop = 0
        """Leave out so many items of every search that numberMatched counts."""
        self.drop_searches: int | None = None
        """Drop only in so many searches (first pages)."""
        self.duplicate_across_pages = False
        """Each page begins with the last item of the page before."""
        self.faults: dict[str, Fault] = {}
        """By path; `*` for all."""
        self.raw_page: bytes | None = None
        """Answer searches with these bytes."""
        self.bearer: str | None = None
        """Demand this token."""
        self.public_url: str | None = None
        """What links show instead of the true address."""
        self.collection_extras: dict[str, Any] = {}
        """More members of every collection's document."""
        self._searches = 0

    @property
    def searches(self) -> list[Request]:
        """The pages that were asked for."""
        return [request for request in self.log if request.path == "/search"]

    def respond(self, request: Request) -> Response:
        fault = self.faults.get(request.path) or self.faults.get("*")
        good = self._good(request)
        return fault.apply(request, good) if fault is not None and fault.strikes() else good

    def _good(self, request: Request) -> Response:
        if self.bearer is not None and request.headers.get("authorization") != f"Bearer {self.bearer}":
            return _json({"description": "no valid token"}, status=401)
        parts = [part for part in request.path.split("/") if part]
        match parts:
            case []:
                return _json(self._landing())
            case ["collections"]:
                return _json({"collections": [self._collection(name) for name in self._collections()], "links": []})
            case ["collections", name] if name in self._collections() or not self.items:  # an empty one has every name
                return _json(self._collection(name))
            case ["collections", name, "items", item]:
                found = [one for one in self.items if one.get("id") == item and one.get("collection") == name]
                return _json(found[0]) if found else _json({"description": "no such item"}, status=404)
            case ["search"]:
                return self._search(request)
            case _:
                return _json({"description": "nothing here"}, status=404)

    @property
    def _base(self) -> str:
        return self.public_url or self.url

    def _collections(self) -> list[str]:
        return sorted({str(item.get("collection")) for item in self.items})

    def _landing(self) -> dict[str, Any]:
        links = [
            {"rel": "self", "href": self._base, "type": "application/json"},
            {"rel": "root", "href": self._base, "type": "application/json"},
        ]
        for method in self.methods:
            link = {"rel": "search", "href": f"{self._base}/search", "type": "application/geo+json"}
            links.append({**link, "method": method} if self.link_methods else link)
        return {
            "type": "Catalog",
            "id": "test",
            "title": "Test API",
            "description": "a test",
            "stac_version": "1.0.0",
            "conformsTo": _CONFORMANCE,
            "links": links,
        }

    def _collection(self, name: str) -> dict[str, Any]:
        extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}}
        return {
            "type": "Collection",
            "id": name,
            "description": name,
            "stac_version": "1.0.0",
            "license": "other",
            "extent": extent,
            "links": [],
            **self.collection_extras,
        }

    def _search(self, request: Request) -> Response:
        if request.method not in self.methods:
            return _json({"description": "method not allowed"}, status=405)
        if self.raw_page is not None:
            return Response(200, self.raw_page, {"Content-Type": "application/geo+json"})
        asked = request.json if request.method == "POST" else _from_parameters(request.query)
        try:
            found = [item for item in self.items if self._fits(item, asked)]
        except (ValueError, KeyError, TypeError) as error:
            return _json({"code": "BadRequest", "description": f"bad search: {error}"}, status=400)
        return _json(self._page(asked, found, request.method))

    def _fits(self, item: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
        return (
            ("collections" not in asked or item.get("collection") in asked["collections"])
            and ("ids" not in asked or item.get("id") in asked["ids"])
            and (self.ignore_bbox or "bbox" not in asked or _meets(item, _area(asked["bbox"])))
            and ("intersects" not in asked or _meets(item, shapely.geometry.shape(asked["intersects"])))
            and ("datetime" not in asked or _within(item, asked["datetime"]))
            and (self.ignore_query or all(_holds(item, name, rules) for name, rules in asked.get("query", {}).items()))
        )

    def _page(self, asked: Mapping[str, Any], found: list[dict[str, Any]], method: str) -> dict[str, Any]:
        limit = min(int(asked.get("limit", 10)), self.page_cap)
        page, empty = _token(asked.get("token"))
        if page == 0 and not empty:
            self._searches += 1
        matched = self.matched if self.matched is not None else len(found)
        if self.drop and (self.drop_searches is None or self._searches <= self.drop_searches):
            found = found[: max(0, len(found) - self.drop)]
        pages = max(1, -(-len(found) // limit))
        items = [] if empty else _slice(found, limit, page, pages, self.duplicate_across_pages)
        document: dict[str, Any] = {"type": "FeatureCollection", "features": items, "links": []}
        if self.say_matched:
            document["numberMatched"] = matched
        following = self._following(page, empty, pages)
        if following is not None:
            document["links"].append(self._next(asked, following, method))
        elif self.null_next:
            document["links"].append({"rel": "next", "href": None})
        return document

    def _following(self, page: int, empty: bool, pages: int) -> str | None:
        if empty:
            return f"p{page}"
        if self.next_loops:
            return f"p{(page + 1) % max(2, pages)}"
        if page + 1 >= pages + self.repeat_last:
            return None
        return f"e{page + 1}" if self.empty_page_at == page + 1 else f"p{page + 1}"

    def _next(self, asked: Mapping[str, Any], token: str, method: str) -> dict[str, Any]:
        href = self.next_href or f"{self._base}/search"
        if method == "POST":
            body = {"token": token} if self.merge else {**asked, "token": token}
            return {"rel": "next", "href": href, "method": "POST", "body": body, "merge": self.merge}
        if self.next_href is None:
            href += "?" + "&".join(f"{name}={_parameter(value)}" for name, value in {**asked, "token": token}.items())
        return {"rel": "next", "href": href}


def _json(document: Any, *, status: int = 200) -> Response:
    return Response(status, json.dumps(document).encode(), {"Content-Type": "application/geo+json"})


def _token(token: str | None) -> tuple[int, bool]:
    """Page number, and whether it is the empty page before that one."""
    return (int(token[1:]), token[0] == "e") if token else (0, False)


def _slice(found: list[dict[str, Any]], limit: int, page: int, pages: int, overlap: bool) -> list[dict[str, Any]]:
    start = min(page, pages - 1) * limit
    return found[max(0, start - 1) if overlap else start : start + limit]


def _from_parameters(query: Mapping[str, str]) -> dict[str, Any]:
    asked: dict[str, Any] = dict(query)
    for name in ("collections", "ids"):
        if name in asked:
            asked[name] = asked[name].split(",")
    if "bbox" in asked:
        asked["bbox"] = [float(part) for part in asked["bbox"].split(",")]
    for name in ("query", "intersects"):
        if name in asked:
            asked[name] = json.loads(asked[name])
    return asked


def _parameter(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else json.dumps(value) if isinstance(value, dict) else str(value)
    return quote(text, safe=",")


def _area(bbox: Sequence[float]) -> shapely.Geometry:
    west, south, east, north = bbox if len(bbox) == 4 else (bbox[0], bbox[1], bbox[3], bbox[4])
    if south > north:
        raise ValueError("south > north")
    if west <= east:
        return shapely.box(west, south, east, north)
    return shapely.union(shapely.box(west, south, 180, north), shapely.box(-180, south, east, north))


def _meets(item: Mapping[str, Any], area: shapely.Geometry) -> bool:
    geometry = item.get("geometry")
    if geometry is None:
        return "bbox" in item and shapely.intersects(area, _area(item["bbox"]))
    return shapely.intersects(area, shapely.make_valid(shapely.geometry.shape(geometry)))


def _within(item: Mapping[str, Any], interval: str) -> bool:
    """Closed at both ends, by the item's datetime or its interval, as real servers do."""
    start, _, end = interval.partition("/") if "/" in interval else (interval, "", interval)
    properties = item["properties"]
    first = properties.get("datetime") or properties["start_datetime"]
    last = properties.get("datetime") or properties["end_datetime"]
    return (end in ("", "..") or _instant(first) <= _instant(end)) and (start in ("", "..") or _instant(last) >= _instant(start))


def _instant(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _holds(item: Mapping[str, Any], name: str, rules: Mapping[str, Any]) -> bool:
    value = item["properties"].get(name)
    tests: dict[str, Callable[[Any, Any], bool]] = {
        "eq": lambda a, b: a == b,
        "neq": lambda a, b: a != b,
        "lt": lambda a, b: a < b,
        "lte": lambda a, b: a <= b,
        "gt": lambda a, b: a > b,
        "gte": lambda a, b: a >= b,
        "in": lambda a, b: a in b,
        "startsWith": lambda a, b: a.startswith(b),
        "endsWith": lambda a, b: a.endswith(b),
        "contains": lambda a, b: b in a,
    }
    return value is not None and all(tests[operator](value, wanted) for operator, wanted in rules.items())
