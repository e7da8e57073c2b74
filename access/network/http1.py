"""HTTP/1.1 over one connection, as far as ranged GETs need it: a request goes out, an answer comes in, nothing else.

httptools reads the answers: `http.client` makes an e-mail message of every one, which costs more than the whole rest of reading a
header. Its exceptions are raised here all the same. Everything is bounded: the head of an answer, the body by what its reader asks
for, and all of it by a deadline.
"""

from __future__ import annotations

import socket
import time
from http.client import BadStatusLine, HTTPException, IncompleteRead, RemoteDisconnected

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from rasterloom.raster.recycled import Recycled

MOST_HEAD = 1 << 16
"""Bytes of everything before the body."""
_PIECE = 1 << 15
"""Bytes asked of the socket at once: the head and 16 KiB come in one piece."""
_LARGE_PIECE = 1 << 18


class Connection:
    """One open socket, used by one thread at a time."""

    __slots__ = ("_deadline", "socket")

    def __init__(self, opened: socket.socket) -> None:
        self.socket = opened
        self._deadline = 0.0

    def close(self) -> None:
        self.socket.close()

    def ask(self, request: bytes, deadline: float) -> Reply:
        """Send a request that is complete and has no body; its answer as far as the body.

        `deadline` is a moment of `time.monotonic`. Raises `RemoteDisconnected` where the server closed the connection before it
        answered, OSError (TimeoutError) and HTTPException for every other end.
        """
        self._deadline = deadline
        self.socket.settimeout(_left(deadline))
        self.socket.sendall(request)
        reply = self._fed(self.received(_PIECE), None)
        while not reply.begun:
            reply = self._fed(self.received(_PIECE), reply)
        return reply

    def send(self, request: bytes, deadline: float) -> None:
        """As `ask`, without waiting for anything: `arrived` takes in the answer. Raises OSError."""
        self._deadline = deadline
        if self.socket.gettimeout() != 0:
            self.socket.setblocking(False)
        if self.socket.send(request) < len(request):
            raise BlockingIOError("the connection takes no whole request")

    def arrived(self, reply: Reply | None) -> Reply:
        """What is there of the answer, after the `reply` to date, without waiting. Raises BlockingIOError or SSLWantReadError: nothing."""
        if reply is None or reply.rest is None:
            return self._fed(self.socket.recv(_PIECE), reply)
        if not reply.filled(self.socket.recv_into(reply.rest)):
            raise reply.broken_off()
        return reply

    def _fed(self, data: bytes, reply: Reply | None) -> Reply:
        """Raises as `ask`."""
        if not data:
            raise RemoteDisconnected("the server closed the connection without an answer") if reply is None else reply.broken_off()
        reply = reply or Reply(self)
        reply.feed(data)
        return reply

    def received(self, most: int) -> bytes:
        """What comes next, at most so many bytes; none where the server has closed the connection."""
        self.socket.settimeout(_left(self._deadline))
        return self.socket.recv(most)

    def received_into(self, place: memoryview) -> int:
        """How many bytes came; 0 where the server has closed the connection."""
        self.socket.settimeout(_left(self._deadline))
        return self.socket.recv_into(place)


class Reply:
    """An answer whose body is still to be read. The methods that begin with `on_` are called by its parser."""

    __slots__ = (
        "_connection",
        "_fields",
        "_held",
        "_keeps",
        "_parser",
        "_place",
        "_seen",
        "_silent",
        "_until_close",
        "begun",
        "done",
        "length",
        "rest",
        "status",
    )

    def __init__(self, connection: Connection) -> None:
        self.status = 0
        self.length: int | None = None
        """Bytes of the body, where the server says how many."""
        self._connection = connection
        self._fields: dict[bytes, bytes] = {}
        self._held: list[bytes] = []
        """Of the body: received, and not yet read by anybody."""
        self.begun = False
        """The head is complete."""
        self.done = False
        """All of the body came."""
        self._keeps = self._until_close = False
        self._place = memoryview(b"")
        self.rest: memoryview | None = None
        """Where the next bytes of the body go, after `make_room`."""
        self._seen = 0
        self._silent = True
        self._parser: HttpResponseParser | None = _parser_of(self)

    def feed(self, data: bytes) -> None:
        """Take in what came. Raises HTTPException for what is no answer of HTTP/1."""
        if self._parser is None:
            self._silent = False
            return
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            raise BadStatusLine(f"the server answered with status {self.status}") from None
        except HttpParserError as error:
            if not self.done:
                raise BadStatusLine(f"the answer is no HTTP/1.1: {error}") from None
            self._silent = False
        if self.begun:
            self._check()
        else:
            self._seen += len(data)
            if self._seen > MOST_HEAD:
                raise HTTPException(f"the head of the answer has more than {MOST_HEAD} bytes")
        if self.done:
            self._parser = None  # it and this object hold each other

    def _check(self) -> None:
        encoding = self._fields.get(b"transfer-encoding")
        if encoding is not None and encoding.strip().lower() != b"chunked":
            raise HTTPException(f"the answer has the transfer encoding {encoding[:80]!r}")

    def on_message_begin(self) -> None:
        self._silent = self._silent and not self.done

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.begun:  # else it is a trailer
            self._fields[name.lower()] = value

    def on_headers_complete(self) -> None:
        parser = self._parser
        if parser is None or self.done:
            return
        self.status = parser.get_status_code()
        self._keeps = parser.should_keep_alive()
        self.begun = not 100 <= self.status < 200
        length = self._fields.get(b"content-length")
        self.length = None if length is None else int(length)
        self._until_close = self.length is None and b"transfer-encoding" not in self._fields

    def on_body(self, data: bytes) -> None:
        if not self.done:
            self._held.append(data)

    def on_message_complete(self) -> None:
        if self.begun:
            self.done = True
        else:  # an interim answer
            self._fields.clear()

    def field(self, name: bytes) -> bytes | None:
        """The value of a field as it came; the last one where it stands more than once. `name`: in small letters."""
        return self._fields.get(name)

    def header(self, name: str) -> str | None:
        """The same as a text, whatever the letters of its name."""
        value = self._fields.get(name.lower().encode())
        return None if value is None else value.decode("latin-1").rstrip()

    @property
    def complete(self) -> bool:
        """Whether the body was read to its end."""
        return self.done and not self._held

    @property
    def reusable(self) -> bool:
        """Whether the connection may be asked again: nothing came that nobody asked for."""
        return self.complete and self._keeps and self._silent

    def read(self, most: int) -> bytes:
        """The next `most` bytes of the body, or all that are left: `complete` says so. Fewer where the connection ends before."""
        if self.done and len(self._held) == 1 and len(self._held[0]) <= most:
            return self._held.pop()
        have = sum(map(len, self._held))
        while have < most and not self.done:
            piece = self._connection.received(min(max(most - have, _PIECE), _LARGE_PIECE))
            if not piece:
                self.done = self._until_close
                self._keeps = False
                break
            before = len(self._held)
            self.feed(piece)
            have += sum(map(len, self._held[before:]))
        data = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        self._held = [data[most:]] if len(data) > most else []
        return data[:most] if len(data) > most else data

    def brings(self, most: int) -> bool:
        """Whether it is a range of at most so many bytes, and they come as they are."""
        return self.status == 206 and self.plain and (self.length or 0) <= most

    def broken_off(self) -> IncompleteRead:
        """The connection has ended before the answer."""
        if self.rest is not None:
            return IncompleteRead(b"", len(self.rest))
        return IncompleteRead(b"", self.length - sum(map(len, self._held)) if self.begun and self.length else None)

    @property
    def chunked(self) -> bool:
        """Whether the body tells its own end, and not its length before it."""
        return self.length is None and not self._until_close

    @property
    def plain(self) -> bool:
        """Whether the body comes as it is, and as long as the head says: then nothing of it needs a parser."""
        return self.length is not None and b"transfer-encoding" not in self._fields

    def make_room(self, memory: Recycled) -> None:
        """All of a `plain` body, of which nothing was read, is to come into `memory`, where it stays.

        In pieces it would be copied twice, with the interpreter's lock held.
        """
        self._place = self.rest = memory.empty(self.length or 0).data
        held, self._held, self._parser = self._held, [], None
        for piece in held:
            self.rest[: len(piece)] = piece
            self.filled(len(piece))

    def filled(self, count: int) -> int:
        """So many bytes were put into `rest`."""
        assert self.rest is not None
        self.rest = self.rest[count:]
        self.done = not self.rest
        return count

    def read_large(self, memory: Recycled) -> memoryview:
        """The body that `make_room` makes room for; fewer bytes than its length where the connection ends."""
        if self.rest is None:
            self.make_room(memory)
        while self.rest and self.filled(self._connection.received_into(self.rest)):
            pass
        return self._place[: len(self._place) - len(self.rest or b"")].toreadonly()


def _parser_of(reply: Reply) -> HttpResponseParser:
    parser = HttpResponseParser(reply)
    # RFC 9112, 2.2: a recipient may take a single line feed for the end of a line; old servers send it
    parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True)
    return parser


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the answer timed out")
    return min(left, 3600.0)
