"""Answers of servers, good and bad, byte by byte."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.client import HTTPException, RemoteDisconnected

import pytest

from rasterloom.access.network.http1 import MOST_HEAD, Connection, Reply
from rasterloom.raster.recycled import Recycled

REQUEST = b"GET /a.tif HTTP/1.1\r\nHost: x\r\n\r\n"
SOON = 30.0
PLAIN = b'HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\nETag: "a"\r\nContent-Range: bytes 0-4/9\r\nServer: s\r\n\r\nhello'
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\nX: y\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.0 200 OK\nContent-Type: a\n\nhello"


@contextmanager
def served(*pieces: bytes, hold: bool = False) -> Generator[Connection]:
    """A connection to a server that answers with these pieces, and closes unless it is to `hold`."""
    ours, theirs = socket.socketpair()
    told = threading.Event()

    def serve() -> None:
        with theirs:
            theirs.recv(4096)
            for piece in pieces:
                theirs.sendall(piece)
                time.sleep(0.0005 if len(pieces) < 10 else 0)
            if hold:
                told.wait(SOON)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield Connection(ours)
    finally:
        told.set()
        ours.close()
        thread.join(SOON)


def asked(connection: Connection, seconds: float = SOON) -> Reply:
    return connection.ask(REQUEST, time.monotonic() + seconds)


def body(*pieces: bytes) -> tuple[bytes, bool]:
    with served(*pieces) as connection:
        reply = asked(connection)
        return reply.read(100), reply.complete


def test_an_answer_says_what_matters_and_leaves_the_connection_for_the_next_one() -> None:
    with served(PLAIN, hold=True) as connection:
        reply = asked(connection)
        assert (reply.status, reply.length) == (206, 5)
        assert (reply.header("ETag"), reply.header("Content-Range"), reply.header("Location")) == ('"a"', "bytes 0-4/9", None)
        assert not reply.reusable
        assert (reply.read(2), reply.read(9), reply.read(9)) == (b"he", b"llo", b"")
        assert reply.complete
        assert reply.reusable


@pytest.mark.parametrize("answer", [PLAIN, CHUNKED, UNTIL_CLOSE])
def test_wherever_an_answer_is_cut_into_packets_it_is_the_same(answer: bytes) -> None:
    assert body(answer) == (b"hello", True)
    for cut in range(1, len(answer), 7):
        assert body(answer[:cut], answer[cut:]) == (b"hello", True)
    assert body(*(answer[at : at + 1] for at in range(len(answer)))) == (b"hello", True)


def test_interim_answers_are_passed_over() -> None:
    assert body(b"HTTP/1.1 100 Continue\r\n\r\n" + b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + PLAIN) == (b"hello", True)
    assert body(b"HTTP/1.1 100 Continue\r\n\r\n", PLAIN) == (b"hello", True)


def test_a_body_that_breaks_off_is_not_complete() -> None:
    assert body(PLAIN[:-2]) == (b"hel", False)


@pytest.mark.parametrize("answer", [PLAIN.replace(b"ETag", b"Connection: close\r\nETag"), PLAIN + b"?", UNTIL_CLOSE])
def test_a_connection_that_closes_or_says_too_much_is_not_used_again(answer: bytes) -> None:
    with served(answer, hold=False) as connection:
        reply = asked(connection)
        assert reply.read(100) == b"hello"
        assert not reply.reusable


def test_no_more_is_read_than_asked_for() -> None:
    with served(CHUNKED) as connection:
        reply = asked(connection)
        assert reply.read(3) == b"hel"
        assert not reply.complete
        assert reply.read(2) == b"lo"
        assert reply.complete


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 9000,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * (MOST_HEAD + 40_000),
        b"HTTP/1.1 100 Continue\r\n\r\n" * (MOST_HEAD // 20),
        b"HTTP/1.1 200 OK\r\nContent-Le",
    ],
)
def test_nonsense_is_refused_and_never_taken_for_bytes(answer: bytes) -> None:
    with served(answer) as connection, pytest.raises(HTTPException):
        asked(connection).read(100)


def test_a_server_that_hangs_up_says_so() -> None:
    with served() as connection, pytest.raises(RemoteDisconnected):
        asked(connection)


def test_no_answer_takes_longer_than_the_deadline_however_little_comes_at_a_time() -> None:
    with served(PLAIN[:60], hold=True) as connection, pytest.raises(TimeoutError):
        asked(connection, 0.05)
    with served(PLAIN[:-1], hold=True) as connection, pytest.raises(TimeoutError):
        asked(connection, 0.3).read(100)


LARGE = bytes(range(256)) * 4096
HEAD = b"HTTP/1.1 206 Partial Content\r\nContent-Length: %d\r\n\r\n" % len(LARGE)


def test_a_large_body_is_received_where_it_stays() -> None:
    for cut in (0, 1, 5000, len(LARGE)):
        with served(HEAD + LARGE[:cut], LARGE[cut:], hold=True) as connection:
            reply = asked(connection)
            assert reply.plain
            assert reply.read_large(Recycled()) == LARGE
            assert reply.complete
            assert reply.reusable


def test_a_large_body_that_breaks_off() -> None:
    with served(HEAD, LARGE[:-1]) as connection:
        reply = asked(connection)
        assert len(reply.read_large(Recycled())) == len(LARGE) - 1
        assert not reply.complete
        assert not reply.reusable


def test_a_large_body_has_a_deadline() -> None:
    with served(HEAD, LARGE[:100], hold=True) as connection:
        reply = asked(connection, 0.3)
        with pytest.raises(TimeoutError):
            reply.read_large(Recycled())
