"""HTTP/1.1 over one connection, as far as ranged GETs need it: a request goes out, an answer comes in, nothing else.

`http.client` makes an e-mail message of every answer, which costs more than the whole rest of reading a header. Its exceptions are
raised here too. Everything is bounded: the head of an answer, the body by what its reader asks for, and all of it by a deadline.
"""

from __future__ import annotations

import re
import socket
import time
from http.client import BadStatusLine, HTTPException, IncompleteRead, RemoteDisconnected

MOST_HEAD = 1 << 16
"""Bytes of everything before the body."""
_PIECE = 1 << 15
"""Bytes asked of the socket at once: the head and 16 KiB come in one piece."""
_LARGE_PIECE = 1 << 18
_STATUS = re.compile(rb"HTTP/1\.([01]) +(\d{3})(?: [^\r\n]*)?\r?(?:\n|$)")
_END = re.compile(rb"\n\r?\n")
_NAMES = rb"connection|content-(?:encoding|length|range)|etag|location|retry-after|transfer-encoding"
_FIELD = re.compile(rb"\n(" + _NAMES + rb"):[ \t]*([^\r\n]*)", re.IGNORECASE)
"""The fields that anybody here asks for."""
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")
_MOST_LINE = 4096
"""Bytes of a line between chunks."""


class Connection:
    """One open socket, used by one thread at a time."""

    __slots__ = ("_deadline", "_rest", "_socket")

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self._rest = b""
        self._deadline = 0.0

    def close(self) -> None:
        self._socket.close()

    def ask(self, request: bytes, deadline: float) -> Reply:
        """Send a request that is complete and has no body; its answer as far as the body.

        `deadline` is a moment of `time.monotonic`. Raises `RemoteDisconnected` where the server closed the connection before it
        answered, OSError (TimeoutError) and HTTPException for every other end.
        """
        self._deadline, self._rest = deadline, b""
        self._socket.settimeout(_left(deadline))
        self._socket.sendall(request)
        data = self._received(_PIECE)
        if not data:
            raise RemoteDisconnected("the server closed the connection without an answer")
        seen = 0
        while True:
            stop, data = self._head(data)
            status, minor = _status_of(data)
            if not 100 <= status < 200:
                break
            seen += stop  # an interim answer
            if seen > MOST_HEAD or status == 101:
                raise BadStatusLine(f"the server answered with status {status}")
            data = data[stop:] or self._received(_PIECE)
        self._rest = data[stop:]
        return Reply(self, status, _fields_of(data, stop), keeps=minor == 1)

    def _head(self, data: bytes) -> tuple[int, bytes]:
        """Where the head ends, and the bytes that were received until then."""
        while True:
            stop = data.find(b"\r\n\r\n")
            if stop >= 0:
                return stop + 4, data
            end = _END.search(data)
            if end:
                return end.end(), data
            if len(data) > MOST_HEAD:
                raise HTTPException(f"the head of the answer has more than {MOST_HEAD} bytes")
            more = self._received(_PIECE)
            if not more:
                raise IncompleteRead(data)
            data += more

    def _received(self, most: int) -> bytes:
        self._socket.settimeout(_left(self._deadline))
        return self._socket.recv(most)

    def take(self, count: int) -> bytes:
        """The next `count` bytes; fewer where the connection ends."""
        rest = self._rest
        if len(rest) >= count:
            self._rest = rest[count:]
            return rest[:count] if len(rest) > count else rest
        pieces, left, self._rest = [rest], count - len(rest), b""
        while left:
            piece = self._received(min(left, _LARGE_PIECE))
            if not piece:
                break
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def line(self) -> bytes:
        """The next line, with its end. Raises `IncompleteRead` or HTTPException where there is none."""
        while (stop := self._rest.find(b"\n")) < 0:
            if len(self._rest) > _MOST_LINE:
                raise HTTPException(f"a line of the answer has more than {_MOST_LINE} bytes")
            piece = self._received(_PIECE)
            if not piece:
                raise IncompleteRead(self._rest)
            self._rest += piece
        line, self._rest = self._rest[: stop + 1], self._rest[stop + 1 :]
        return line

    @property
    def silent(self) -> bool:
        """Whether nothing came that nobody asked for."""
        return not self._rest


class Reply:
    """An answer whose body is still to be read."""

    __slots__ = ("_chunk", "_connection", "_fields", "_keeps", "complete", "length", "status")

    def __init__(self, connection: Connection, status: int, fields: dict[bytes, bytes], *, keeps: bool) -> None:
        self.status = status
        self._connection = connection
        self._fields = fields
        self._chunk: int | None = 0 if b"transfer-encoding" in fields else None
        """Bytes left of the chunk under way; None: the body is not in chunks."""
        self.length: int | None = None
        """Bytes left of the body, where the server says how many."""
        self.complete = False
        """Whether the body was read to its end."""
        told = fields.get(b"connection", b"").lower()
        self._keeps = b"close" not in told if keeps else b"keep-alive" in told
        self._measure()

    def _measure(self) -> None:
        encoding, length = self._fields.get(b"transfer-encoding"), self._fields.get(b"content-length")
        if self.status in (204, 304):
            self._chunk, self.length, self.complete = None, 0, True
        elif encoding is not None:
            if encoding.strip().lower() != b"chunked":
                raise HTTPException(f"the answer has the transfer encoding {encoding[:80]!r}")
        elif length is not None:
            if not length.isdigit():
                raise HTTPException(f"the answer has the length {length[:80]!r}")
            self.length = int(length)
            self.complete = self.length == 0

    def header(self, name: str) -> str | None:
        """The value of one of the fields that this client knows."""
        value = self._fields.get(name.lower().encode())
        return None if value is None else value.decode("latin-1").rstrip()

    @property
    def reusable(self) -> bool:
        """Whether the connection may be asked again."""
        return self.complete and self._keeps and self._connection.silent

    def read(self, most: int) -> bytes:
        """The next `most` bytes of the body, or all that are left: `complete` says so. Fewer where the connection ends before."""
        if self.complete:
            return b""
        if self._chunk is not None:
            return self._read_chunks(most)
        if self.length is None:
            self._keeps = False
            data = self._connection.take(most)
            self.complete = len(data) < most
            return data
        data = self._connection.take(min(most, self.length))
        self.length -= len(data)
        self.complete = not self.length
        return data

    def _read_chunks(self, most: int) -> bytes:
        pieces: list[bytes] = []
        left = most
        while left and not self.complete:
            if not self._chunk:
                self._chunk = self._next_chunk()
                continue
            piece = self._connection.take(min(left, self._chunk))
            if not piece:
                break
            pieces.append(piece)
            left -= len(piece)
            self._chunk -= len(piece)
            if not self._chunk and self._connection.line().strip():
                raise HTTPException("a chunk of the answer is longer than it says")
        if not left and not self._chunk and not self.complete:
            self._chunk = self._next_chunk()  # the end may be there already
        return b"".join(pieces)

    def _next_chunk(self) -> int:
        line = self._connection.line()
        size = _CHUNK.fullmatch(line)
        if size is None:
            raise HTTPException(f"a chunk of the answer begins with {line[:80]!r}")
        count = int(size[1], 16)
        if not count:
            for _ in range(MOST_HEAD // _MOST_LINE):
                if not self._connection.line().strip():
                    self.complete = True
                    return 0
            raise HTTPException("the answer does not end")
        return count


def _status_of(data: bytes) -> tuple[int, int]:
    """Status, and the minor version of HTTP/1."""
    found = _STATUS.match(data)
    if found is None:
        raise BadStatusLine(repr(data[:80]))
    return int(found[2]), int(found[1])


def _fields_of(data: bytes, stop: int) -> dict[bytes, bytes]:
    """Names are lower-case; where a field stands more than once, the last one, but no two lengths of one body."""
    found = _FIELD.findall(data, 0, stop)
    fields = {name.lower(): value for name, value in found}
    if len(fields) < len(found) and len({value for name, value in found if name.lower() == b"content-length"}) > 1:
        raise HTTPException("the answer has two lengths")
    return fields


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the answer timed out")
    return min(left, 3600.0)
