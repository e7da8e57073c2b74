"""A STAC API and a range server in one process, with injected latency and counters. Standard library only (and `scenes.py`).

    python bench/server.py FOLDER --scenes 2000 --bands 4 [--corpus DIR]

prints one line with its base URL when it listens. Paths:

    /stac, /stac/collections, /stac/collections/ID, /stac/search      GET and POST; collections, bbox, datetime, limit, token
    /files/SCENE/BAND.tif, /corpus/PATH                               GET with ranges, HEAD
    /corpus/copies/ANYTHING/PATH                                      the same file under another name
    /_/stats, /_/reset, /_/latency/MS                                 counters and the delay of every other answer
    /_/change/N                                                       from now on N items, every other one of the newest, are newer
    /_/warm/N                                                         make the headers of the first N scenes now

Every answer has its own latency: answers do not queue behind each other, as with an object store. The server is part of what is
measured wherever it is slower than its client, so the work per request is small, and `cpu_s` of the counters tells it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import scenes

HOST = "127.0.0.1"
REASONS = {200: "OK", 206: "Partial Content", 404: "Not Found", 413: "Content Too Large", 416: "Range Not Satisfiable"}
LARGEST_WHOLE = 64 << 20
"""Bytes of a file that is sent without a Range: a hundred whole files at once would not fit in memory."""
TICK = 0.0002
"""Seconds that an answer may be early: one timer serves those that are due together."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_RANGE = re.compile(rb"\r\nrange: *bytes=([\d-]+)", re.IGNORECASE)


@dataclass
class State:
    archive: scenes.Archive
    scenes: int
    bands: int
    corpus: Path | None
    base: str = ""
    latency: float = 0.0
    """Seconds from a request to its answer."""
    counts: Counter[str] = field(default_factory=Counter)
    per_path: Counter[str] = field(default_factory=Counter)
    changed: int = 0
    """So many items are newer than they were."""
    waiting: deque[tuple[float, Connection, Request]] = field(default_factory=deque[tuple[float, "Connection", "Request"]])
    """When to answer, whom and what: in this order, as long as the latency stays the same."""
    cpu_before: float = 0.0

    def item(self, number: int) -> dict[str, Any]:
        made = scenes.item(number, self.scenes, self.bands, self.base)
        newer = number >= self.scenes - 2 * self.changed and (self.scenes - number) % 2 == 0
        if newer:
            made["properties"] |= {"updated": "2099-01-01T00:00:00.000Z", "eo:cloud_cover": 99.25}
        return made


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: str
    range: str | None
    """`0-16383` of `Range: bytes=0-16383`."""
    body: bytes


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    kind: str = "application/json"
    headers: str = ""
    length: int | None = None
    """Content-Length where it is not that of the body (HEAD)."""

    def encode(self) -> bytes:
        length = len(self.body) if self.length is None else self.length
        status = f"HTTP/1.1 {self.status} {REASONS[self.status]}\r\n"
        return f"{status}Content-Type: {self.kind}\r\nContent-Length: {length}\r\n{self.headers}\r\n".encode() + self.body


NOT_FOUND = Answer(404, b'{"code":"NotFound"}')


def as_json(value: object) -> Answer:
    return Answer(200, json.dumps(value).encode())


# --- files ---------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _bytes_of(path: Path) -> bytes:
    return path.read_bytes()


def _slice(file: scenes.File, start: int, end: int) -> bytes:
    if file.path is not None:
        return _bytes_of(file.path)[start:end]
    return file.head[start:end].ljust(end - start, b"\0")


def _file(state: State, path: str) -> scenes.File | None:
    _, room, *rest = path.split("/")
    if room == "corpus":
        rest = rest[2:] if rest[0] == "copies" else rest
        local = state.corpus.joinpath(*rest) if state.corpus else None
        return scenes.File(b"", local.stat().st_size, local) if local and local.is_file() and ".." not in rest else None
    number_of, band = rest[0].rpartition("_")[2], rest[-1].removesuffix(".tif")
    number = int(number_of) if number_of.isdigit() else state.scenes
    return state.archive.file(number, band) if number < state.scenes and band in scenes.BANDS else None


def serve_file(state: State, request: Request) -> Answer:
    file = _file(state, request.path)
    if file is None:
        return NOT_FOUND
    state.per_path[request.path] += 1
    headers = f'ETag: "{abs(hash(request.path)):x}"\r\nAccept-Ranges: bytes\r\nLast-Modified: Tue, 31 Dec 2024 00:00:00 GMT\r\n'
    if request.method == "HEAD":
        return Answer(200, b"", "image/tiff", headers, length=file.size)
    if request.range is None:
        if file.size > LARGEST_WHOLE:
            return Answer(413, b"", headers=headers)
        return Answer(200, _slice(file, 0, file.size), "image/tiff", headers)
    first, _, last = request.range.partition("-")
    start = int(first) if first else max(0, file.size - int(last))
    end = min(file.size, int(last) + 1 if first and last else file.size)
    if start >= end:
        return Answer(416, b"", headers=f"Content-Range: bytes */{file.size}\r\n")
    return Answer(206, _slice(file, start, end), "image/tiff", f"{headers}Content-Range: bytes {start}-{end - 1}/{file.size}\r\n")


# --- STAC ----------------------------------------------------------------------------------------------------------------


def _links(state: State) -> list[dict[str, str]]:
    root = f"{state.base}/stac"
    search = [{"rel": "search", "href": f"{root}/search", "method": m, "type": "application/geo+json"} for m in ("GET", "POST")]
    return [{"rel": "self", "href": root}, {"rel": "root", "href": root}, {"rel": "data", "href": f"{root}/collections"}, *search]


def _landing(state: State) -> dict[str, Any]:
    core = "https://api.stacspec.org/v1.0.0"
    conforms = [f"{core}/core", f"{core}/item-search", f"{core}/item-search#query", f"{core}/collections", f"{core}/ogcapi-features"]
    about = {"type": "Catalog", "stac_version": "1.0.0", "id": "bench", "description": "bench"}
    return about | {"conformsTo": conforms, "links": _links(state)}


def _collection(state: State) -> dict[str, Any]:
    extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}}
    links = [{"rel": "self", "href": f"{state.base}/stac/collections/{scenes.COLLECTION}"}, {"rel": "root", "href": f"{state.base}/stac"}]
    base = {"type": "Collection", "stac_version": "1.0.0", "id": scenes.COLLECTION, "description": "bench", "license": "CC0-1.0"}
    return base | {"extent": extent, "links": links}


def _stac(state: State, request: Request) -> Answer:
    match request.path.rstrip("/").split("/")[2:]:
        case []:
            return as_json(_landing(state))
        case ["collections"]:
            return as_json({"collections": [_collection(state)], "links": []})
        case ["collections", scenes.COLLECTION]:
            return as_json(_collection(state))
        case ["search"]:
            return _search(state, request)
        case _:
            return NOT_FOUND


def _question(request: Request) -> dict[str, Any]:
    if request.method == "POST":
        return json.loads(request.body or b"{}")
    raw = {key: values[0] for key, values in parse_qs(request.query).items()}
    question: dict[str, Any] = dict(raw)
    if "bbox" in raw:
        question["bbox"] = [float(v) for v in raw["bbox"].split(",")]
    if "collections" in raw:
        question["collections"] = raw["collections"].split(",")
    return question


@lru_cache(maxsize=64)
def _matching(total: int, interval: str, bbox: tuple[float, ...]) -> list[int]:
    first, _, last = interval.partition("/")
    low, high = _instant(first, "0001-01-01"), _instant(last or first, "9999-12-31")
    times = [scenes.when(n, total) for n in range(total)]
    return [n for n in range(total) if low <= times[n] <= high and (not bbox or _meets(n, total, bbox))]


def _instant(text: str, otherwise: str) -> scenes.datetime:
    text = otherwise if text in ("", "..") else text
    return scenes.datetime.fromisoformat(text if "T" in text else f"{text}T00:00:00Z").astimezone(scenes.UTC)


def _meets(number: int, total: int, bbox: tuple[float, ...]) -> bool:
    west, south, east, north = scenes.item(number, total, 1, "")["bbox"]
    return west <= bbox[2] and east >= bbox[0] and south <= bbox[3] and north >= bbox[1]


def _search(state: State, request: Request) -> Answer:
    question = _question(request)
    if scenes.COLLECTION not in question.get("collections", [scenes.COLLECTION]):
        return as_json({"type": "FeatureCollection", "features": [], "links": [], "numberMatched": 0, "numberReturned": 0})
    found = _matching(state.scenes, question.get("datetime") or "..", tuple(question.get("bbox") or ()))
    start, limit = int(question.get("token") or 0), min(int(question.get("limit") or 10), 1000)
    page = [state.item(n) for n in found[start : start + limit]]
    answer = {"type": "FeatureCollection", "features": page, "links": [], "numberMatched": len(found), "numberReturned": len(page)}
    if start + limit < len(found):
        answer["links"] = [_next(state, request, question | {"token": str(start + limit)})]
    return as_json(answer)


def _next(state: State, request: Request, question: dict[str, Any]) -> dict[str, Any]:
    link = {"rel": "next", "href": f"{state.base}/stac/search", "method": request.method, "type": "application/geo+json"}
    if request.method == "POST":
        return link | {"body": question}
    parts = [f"{k}={','.join(map(str, v)) if isinstance(v, list) else v}" for k, v in question.items()]
    return link | {"href": f"{link['href']}?{'&'.join(parts)}"}


# --- HTTP ----------------------------------------------------------------------------------------------------------------


def answer(state: State, request: Request) -> Answer:
    if request.path.startswith("/stac"):
        state.counts["stac_requests"] += 1
        return _stac(state, request)
    state.counts["file_requests"] += 1
    result = serve_file(state, request) if request.path.startswith(("/files/", "/corpus/")) else NOT_FOUND
    state.counts["file_bytes"] += len(result.body)
    return result


def control(state: State, path: str) -> Answer:
    if path.startswith("/_/latency/"):
        state.latency = float(path.rsplit("/", 1)[1]) / 1000
    if path.startswith("/_/change/"):
        state.changed = int(path.rsplit("/", 1)[1])
    if path.startswith("/_/warm/"):
        for number in range(min(state.scenes, int(path.rsplit("/", 1)[1]))):
            for band in list(scenes.BANDS)[: state.bands]:
                state.archive.file(number, band)
    if path == "/_/reset":
        state.counts.clear()
        state.per_path.clear()
        state.cpu_before = time.process_time()
    spent = time.process_time() - state.cpu_before
    return as_json(
        {**state.counts, "cpu_s": spent, "per_path_max": max(state.per_path.values(), default=0), "per_path": _few(state.per_path)}
    )


def _few(counts: Counter[str]) -> dict[str, int]:
    return dict(counts.most_common(200))


class Connection(asyncio.Protocol):
    """One client connection; a request is answered when its latency has passed."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.state.counts["connections"] += 1

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        state = self.state
        while request := self._next_request():
            if request.path.startswith("/_/"):
                self.transport.write(control(state, request.path).encode())
            elif state.latency:
                loop = asyncio.get_running_loop()
                due = loop.time() + state.latency
                state.waiting.append((due, self, request))
                if len(state.waiting) == 1:
                    loop.call_at(due, answer_due, state)
            else:
                self.answer(request)

    def _next_request(self) -> Request | None:
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self.buffer[:end])
        length = _LENGTH.search(head)
        stop = end + 4 + (int(length[1]) if length else 0)
        if len(self.buffer) < stop:
            return None
        body = bytes(self.buffer[end + 4 : stop])
        del self.buffer[:stop]
        method, target, _ = head[: head.index(b"\r\n")].decode("latin1").split(" ", 2)
        path, _, query = target.partition("?")
        asked = _RANGE.search(head)
        return Request(method, unquote(path) if "%" in path else path, query, asked[1].decode() if asked else None, body)

    def answer(self, request: Request) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer(self.state, request).encode())


def answer_due(state: State) -> None:
    """Answer what has waited long enough, and come again for the next one: one timer for all requests."""
    loop = asyncio.get_running_loop()
    now = loop.time()
    while state.waiting and state.waiting[0][0] <= now + TICK:
        _, connection, request = state.waiting.popleft()
        connection.answer(request)
    if state.waiting:
        loop.call_at(state.waiting[0][0], answer_due, state)


async def serve(state: State, port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(state), HOST, port, backlog=2048)
    state.base = f"http://{HOST}:{server.sockets[0].getsockname()[1]}"
    print(state.base, flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the templates are, or are to be written")
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--bands", type=int, default=4)
    parser.add_argument("--corpus", type=Path, help="a folder of TIFFs to serve under /corpus/")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--first-day", type=scenes.datetime.fromisoformat, default=scenes.FIRST_DAY, help="of the scenes, with a zone")
    parser.add_argument("--days", type=int, default=scenes.DAYS, help="over which the scenes are spread")
    options = parser.parse_args()
    scenes.SPAN.first, scenes.SPAN.days = options.first_day, options.days
    scenes.make_templates(options.folder)
    state = State(scenes.Archive(options.folder), options.scenes, options.bands, options.corpus)
    asyncio.run(serve(state, options.port))


if __name__ == "__main__":
    main()
