"""HTTP for files of hosts that nobody here vouches for: every hop is checked, and the address that was checked is the one connected to.

obstore follows up to ten redirects to any host and cannot be told not to (docs/decisions/016). This client takes over where that
matters: ranged GETs over pooled connections, no redirect without a check, credentials for the first origin alone, a deadline for the
whole answer, and never more bytes than were asked for.
"""

from __future__ import annotations

import re
import ssl
import time
from dataclasses import dataclass, field
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from typing import NamedTuple
from urllib.parse import SplitResult, urljoin, urlsplit

from requests.utils import requote_uri

from rasterloom.access.network.dial import Opening
from rasterloom.access.network.hosts import Policy, retry_after_seconds
from rasterloom.access.network.http1 import Connection, Reply
from rasterloom.access.network.ways import Dial, Ways
from rasterloom.errors import Unreadable
from rasterloom.raster.recycled import Recycled

MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_DRAINED = 1 << 16
"""Bytes of an answer that nobody wants, read to keep its connection."""
LARGE = 1 << 16
"""Bytes of a body that are worth a place of their own."""
_IDLE = 512
"""Connections that wait for the next request, per origin."""
STALE = (RemoteDisconnected, ConnectionResetError, BrokenPipeError, ConnectionAbortedError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""What the end of a connection looks like that the server closed while it waited."""
_PLAIN = re.compile(r"https?://[a-z0-9.-]+(?::\d+)?(?=/(?:\w[\w.+=,-]*/)*\w[\w.+=,-]*\Z)", re.ASCII)
"""Origin of a URL in which nothing needs quoting."""
_CONTENT_RANGE = re.compile(rb"bytes (\d+)-(\d+)/(\d+)\s*")

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Part:
    data: bytes | memoryview
    """The latter where there are many."""
    size: int
    """Bytes of the whole object."""
    etag: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """One host and port, with the connections to it that wait for the next request."""

    parts: SplitResult
    """Of the first URL that was asked for there."""
    lines: str
    """What follows the target in each request."""
    bodies: Recycled
    """Memory of large answers."""
    idle: list[Connection] = field(default_factory=list[Connection])

    def taken(self) -> Connection | None:
        """One of those that wait."""
        try:
            return self.idle.pop()
        except IndexError:
            return None

    def keep(self, connection: Connection) -> None:
        if len(self.idle) < _IDLE:
            self.idle.append(connection)
        else:
            connection.close()


class Question(NamedTuple):
    """A request for bytes `start <= byte < end`, for whoever has a connection."""

    origin: Origin
    request: bytes
    start: int
    end: int


class _Place(NamedTuple):
    """Where one request goes."""

    origin: Origin
    target: str
    """Path and query, quoted."""


class StatusError(HTTPException):
    """An answer that is no success."""

    def __init__(self, status: int, retry_after: float | None) -> None:
        super().__init__(f"the server answered with status {status}")
        self.status_code = status
        self.retry_after = retry_after
        """Seconds that the host asks to be left alone."""


class RangesIgnored(HTTPException):
    """The answer does not fit the range that was asked for."""


class WrongRange(RangesIgnored):
    """It is a range, but not the one that was asked for: the server can do ranges, or says so."""


class Wire:
    """The client of one source. Thread-safe."""

    def __init__(self, policy: Policy, *, timeout: float, dial: Dial | None = None) -> None:
        self._policy = policy
        self._timeout = timeout
        self._ways = Ways(policy, dial)
        self._origins: dict[str, Origin] = {}
        self._bodies = Recycled()

    def question(self, href: str, start: int, end: int, headers: Headers) -> Question | None:
        """What `range` would ask first; None where that is no plain URL of an origin that was asked before."""
        plain = _PLAIN.match(href)
        origin = self._origins.get(plain[0]) if plain else None
        if plain is None or origin is None:
            return None
        lines = "".join([_line(name, value) for name, value in headers]) if headers else ""
        request = f"GET {href[plain.end() :]}{origin.lines}Range: bytes={start}-{end - 1}\r\n{lines}\r\n"
        return Question(origin, request.encode("latin-1"), start, end)

    def takes(self, href: str) -> bool:
        """Whether there is a `question` for it, once its origin was asked."""
        return _PLAIN.match(href) is not None

    def find(self, href: str) -> None:
        """Learn the way to the host of `href`, for `opening`. May wait; raises as `range`."""
        self._ways.find(self._place(href).origin.parts)

    def finds(self, origin: Origin) -> bool:
        """Whether there is an `opening` there."""
        return self._ways.finds(origin.parts)

    def opening(self, origin: Origin) -> Opening | None:
        """A new connection that nobody waits for; None where the way is not known. Raises OSError."""
        return self._ways.opening(origin.parts)

    def open(self, href: str) -> Connection:
        """A connection for the `question` of `href`, whose origin is known from now on. Raises as `range`."""
        return Connection(self._ways.connected(self._place(href).origin.parts))

    def range(self, href: str, start: int, end: int, *, headers: Headers = (), begun: Answer | Exception | None = None) -> Part:
        """Bytes `start <= byte < min(end, size)`. `begun`: what came of its `question`, where that was asked already.

        Raises `StatusError`, `RangesIgnored`, `Unreadable` (`forbidden-host`, `redirect-loop`), and OSError, SSLError or HTTPException of
        a connection that fails.
        """
        if isinstance(begun, Exception):
            raise begun
        with self._answer(href, f"Range: bytes={start}-{end - 1}\r\n", headers, begun) as answer:
            return answer.part(start, end)

    def whole(self, href: str, largest: int, *, headers: Headers = ()) -> Part | None:
        """The file without a range; None where it is larger, or does not say how large. Raises as `range`."""
        with self._answer(href, "", headers) as answer:
            return answer.whole(largest)

    def _answer(self, href: str, wanted: str, secrets: Headers, begun: Answer | None = None) -> Answer:
        """The answer at the end of the redirects, whose body is still to be read. `wanted`: the lines that go to every host."""
        deadline = time.monotonic() + self._timeout
        url, place = href, self._place(href)
        lines = wanted + "".join([_line(name, value) for name, value in secrets])
        for _ in range(MOST_REDIRECTS + 1):
            answer, begun = begun or self._ask(place, lines, deadline), None
            if answer.status not in _REDIRECTS:
                return answer
            url, before = urljoin(url, answer.header("Location") or ""), place.origin
            answer.close()
            place = self._place(url)
            lines = lines if place.origin == before else wanted
        raise Unreadable("the href is redirected without end", reason="redirect-loop", remedy="correct the href in the catalog")

    def _place(self, url: str) -> _Place:
        """Raises `Unreadable` (`forbidden-host`, `bad-href`)."""
        plain = _PLAIN.match(url)
        known = self._origins.get(plain[0]) if plain else None
        if plain and known:
            return _Place(known, url[plain.end() :])
        parts = _checked(url, self._policy)
        netloc = _ascii(parts.netloc.rpartition("@")[2].lower())
        lines = f" HTTP/1.1\r\nHost: {netloc}\r\nUser-Agent: rasterloom\r\nAccept-Encoding: identity\r\n"
        origin = self._origins.setdefault(f"{parts.scheme}://{netloc}", Origin(parts, lines, self._bodies))
        return _Place(origin, requote_uri(f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"))

    def _ask(self, place: _Place, lines: str, deadline: float) -> Answer:
        origin = place.origin
        request = f"GET {place.target}{origin.lines}{lines}\r\n".encode("latin-1")
        try:
            return self._sent(origin.idle.pop(), origin, request, deadline)
        except (IndexError, *STALE):
            # none was there, or the server had closed it: a new one tells the truth
            return self._sent(Connection(self._ways.connected(origin.parts)), origin, request, deadline)

    @staticmethod
    def _sent(connection: Connection, origin: Origin, request: bytes, deadline: float) -> Answer:
        try:
            return Answer(connection, connection.ask(request, deadline), origin)
        except (OSError, HTTPException):
            connection.close()
            raise


class Answer:
    """An answer whose connection goes back to the others when its body was read to the end, and is closed otherwise."""

    __slots__ = ("_connection", "_origin", "_reply", "status")

    def __init__(self, connection: Connection, reply: Reply, origin: Origin) -> None:
        self._connection, self._reply, self._origin = connection, reply, origin
        self.status = reply.status

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and not issubclass(kind, StatusError):
            self._connection.close()
        else:
            self.close()

    def header(self, name: str) -> str | None:
        return self._reply.header(name)

    def close(self) -> None:
        try:
            if (self._reply.length or 0) <= _DRAINED:
                self._reply.read(_DRAINED)
        except (OSError, HTTPException):
            self._connection.close()
            return
        if self._reply.reusable:
            self._origin.keep(self._connection)
        else:
            self._connection.close()

    def part(self, start: int, end: int) -> Part:
        self._refuse_failure()
        told = _CONTENT_RANGE.fullmatch(self._reply.field(b"content-range") or b"")
        if self.status != 206 or told is None or self._encoded:
            raise RangesIgnored(f"asked for bytes {start}..{end}, the server answered with status {self.status} and no such range")
        first, last, size = map(int, told.groups())
        expected = min(end, size) - start
        if (first, last + 1) != (start, min(end, size)) or self._reply.length not in (None, expected):
            raise WrongRange(f"asked for bytes {start}..{end} of {size}, the server sent {self._reply.length} as {first}..{last + 1}")
        return Part(self._read(expected), size, self.header("ETag"))

    def whole(self, largest: int) -> Part | None:
        """The body as it came, an encoding and all. Of one in chunks the end is told, though not the length."""
        self._refuse_failure()
        length = self._reply.length
        if (length is None and not self._reply.chunked) or (length or 0) > largest:
            return None
        data = self._reply.read(largest + 1) if length is None else self._read(length)
        return Part(data, len(data), self.header("ETag")) if len(data) <= largest else None

    @property
    def _encoded(self) -> bool:
        encoding = self._reply.field(b"content-encoding")
        return encoding is not None and encoding.strip().lower() not in (b"", b"identity")

    def _refuse_failure(self) -> None:
        if self.status not in (200, 206):
            raise StatusError(self.status, retry_after_seconds(self.header("Retry-After")))

    def _read(self, expected: int) -> bytes | memoryview:
        """The body, which is to have this length, and not a byte more. Raises `IncompleteRead` where the connection breaks off."""
        large = expected > LARGE and self._reply.plain and self._reply.length == expected
        data = self._reply.read_large(self._origin.bodies) if large else self._reply.read(expected + 1)
        if len(data) > expected:
            raise RangesIgnored(f"the server sends more than the {expected} bytes that were asked for")
        if len(data) < expected:
            raise IncompleteRead(b"", expected - len(data))
        return data


Outcome = Part | Answer | OSError | HTTPException | None
"""Of a `Question`: what was asked for, an answer that is something else, or how the connection failed; None where the server had closed
it before, which says nothing."""


def _line(name: str, value: str) -> str:
    if not (name.isascii() and name.isprintable() and value.isprintable()):
        raise HTTPException(f"the header {name!r} cannot be sent as it is")
    return f"{name}: {value}\r\n"


def _ascii(netloc: str) -> str:
    """Raises `Unreadable` (`bad-href`)."""
    try:
        return netloc if netloc.isascii() else netloc.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise Unreadable(f"its host has no name: {error}", reason="bad-href", remedy="correct the href in the catalog") from None


def _checked(url: str, policy: Policy) -> SplitResult:
    """Raises `Unreadable` (`forbidden-host`, `bad-href`)."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise Unreadable(f"it leads to no URL: {error}", reason="bad-href", remedy="correct the href in the catalog") from None
    policy.check(parts)
    if parts.scheme not in ("http", "https"):
        raise Unreadable(f"it is redirected to {parts.scheme}:", reason="forbidden-host", remedy="correct the href in the catalog")
    return parts
