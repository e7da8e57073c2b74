"""Requests that one thread drives, over http and https: what is ordinary is read here, and all else leaves as it came."""

from __future__ import annotations

import io
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPException, IncompleteRead

import numpy as np
import pytest
import tifffile

from rasterloom.access.archive.headers import fetch_headers
from rasterloom.access.archive.stores import Stores
from rasterloom.access.archive.transfer import Transfer
from rasterloom.access.credentials.secrets import environment_secrets
from rasterloom.access.network.hosts import Gates
from rasterloom.access.network.lane import Lane
from rasterloom.access.network.wire import Answer, Outcome, Part, RangesIgnored, StatusError, Wire
from rasterloom.access.values import Asset, Failure
from rasterloom.errors import AccessDenied
from rasterloom.raster.header import Header
from rasterloom.specs.effort import AuthRef, Effort
from tests.access.lanes.asking import DATA, outcomes
from tests.servers import Body, Cut, Drip, Fault, Gzip, Hang, Html, NoRange, RangeServer, Redirect, Status

EFFORT = Effort(max_concurrent=8, retries=2, timeout=20)
AHEAD = 20_000
"""Bytes of a range: more than comes in one piece, and than one record of TLS."""


def warm(wire: Wire, server: RangeServer, href: str, connections: int) -> None:
    """Leave so many connections open: none of them answers before all have asked."""
    server.faults["/a.tif"] = Hang(0.5, times=connections)
    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(lambda _: wire.range(href, 0, 100), range(connections)))


def asked(lane: Lane[str], wire: Wire, href: str, start: int = 0, end: int = AHEAD) -> bool:
    question = wire.question(href, start, end, ())
    return question is not None and lane.ask(question, href)


def outcome(wire: Wire, href: str, *, timeout: float = 20) -> Outcome:
    """Of the one request for `href`, over a connection that was used before."""
    wire.range(href, 0, 100)
    with closing(Lane[str](timeout)) as lane:
        assert asked(lane, wire, href)
        return outcomes(lane)[href]


def test_many_at_once_over_the_connections_that_are_there(wire: Wire, server: RangeServer, base: str) -> None:
    warm(wire, server, f"{base}/a.tif", connections=3)
    with closing(Lane[str](20)) as lane:
        for _ in range(2):
            assert [asked(lane, wire, f"{base}/{name}.tif", 100, 100 + AHEAD) for name in "abcd"] == [True, True, True, False]
            assert lane.busy == 3
            found = outcomes(lane)
            assert found.keys() == {f"{base}/{name}.tif" for name in "abc"}
            assert all(isinstance(part, Part) and (part.data, part.size) == (DATA[100 : 100 + AHEAD], len(DATA)) for part in found.values())
    assert len(server.log) == 3 + 2 * 3
    assert len(server.requests_of("/d.tif")) == 0


def test_connections_are_left_to_others_at_the_end(wire: Wire, base: str) -> None:
    assert isinstance(outcome(wire, f"{base}/a.tif"), Part)
    with closing(Lane[str](20)) as lane:
        assert asked(lane, wire, f"{base}/b.tif"), "there is no connection for a second lane"
        outcomes(lane)
    assert wire.range(f"{base}/b.tif", 0, 100).data == DATA[:100]


def test_an_unknown_host_and_an_odd_href_are_not_for_it(wire: Wire, server: RangeServer) -> None:
    assert wire.question(f"{server.url}/a.tif", 0, 100, ()) is None
    wire.range(f"{server.url}/a.tif", 0, 100)
    assert wire.question(f"{server.url}/a.tif", 0, 100, ()) is not None
    assert wire.question(f"{server.url}/a%20b.tif", 0, 100, ()) is None
    assert wire.question(f"{server.url}/a.tif?x=1", 0, 100, ()) is None


def test_a_slow_answer_is_read_piece_by_piece(wire: Wire, server: RangeServer, base: str) -> None:
    wire.range(f"{base}/a.tif", 0, 100)
    server.faults["/a.tif"] = Drip(0.001, after=50)
    with closing(Lane[str](20)) as lane:
        assert asked(lane, wire, f"{base}/a.tif", 0, 300)
        part = outcomes(lane)[f"{base}/a.tif"]
    assert isinstance(part, Part)
    assert part.data == DATA[:300]


@pytest.mark.parametrize(
    ("fault", "status"), [(Status(404), 404), (Status(503, retry_after=7), 503), (Redirect("/b.tif"), 302), (NoRange(), 200)]
)
def test_another_answer_leaves_unread(wire: Wire, server: RangeServer, base: str, fault: Fault, status: int) -> None:
    server.faults["/b.tif"] = fault
    wire.range(f"{base}/a.tif", 0, 100)
    with closing(Lane[str](20)) as lane:
        assert asked(lane, wire, f"{base}/b.tif")
        answer = outcomes(lane)[f"{base}/b.tif"]
    assert isinstance(answer, Answer)
    assert answer.status == status
    if status == 302:
        del server.faults["/b.tif"]
        assert wire.range(f"{base}/b.tif", 0, AHEAD, begun=answer).data == DATA[:AHEAD]
        assert len(server.requests_of("/b.tif")) == 2, "the redirect is not asked for again"
    else:
        with pytest.raises(RangesIgnored if status == 200 else StatusError):
            wire.range(f"{base}/b.tif", 0, AHEAD, begun=answer)
        assert len(server.requests_of("/b.tif")) == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Gzip(), RangesIgnored),
        (Body(lambda body: body[:100]), RangesIgnored),
        (Cut(1000), IncompleteRead),
        (Hang(3), TimeoutError),
        (Drip(2), TimeoutError),
    ],
    ids=["gzip", "short", "cut", "hang", "drip"],
)
def test_a_failure_leaves_as_what_it_is(wire: Wire, server: RangeServer, base: str, fault: Fault, error: type[Exception]) -> None:
    server.faults["/b.tif"] = fault
    wire.range(f"{base}/a.tif", 0, 100)
    started = time.monotonic()
    with closing(Lane[str](0.5 if error is TimeoutError else 20)) as lane:
        assert asked(lane, wire, f"{base}/b.tif")
        found = outcomes(lane)[f"{base}/b.tif"]
        assert not asked(lane, wire, f"{base}/a.tif"), "its connection is not used again"
    if error is TimeoutError:
        assert time.monotonic() - started >= 0.5
    assert isinstance(found, OSError | HTTPException)
    with pytest.raises(error):
        wire.range(f"{base}/b.tif", 0, AHEAD, begun=found)
    assert len(server.requests_of("/b.tif")) == 1


def test_a_connection_that_the_server_closed_says_nothing(wire: Wire) -> None:
    """The server answers once, and closes the connection when it is asked again."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        href = f"http://127.0.0.1:{listening.getsockname()[1]}/a.tif"

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-99/200\r\nContent-Length: 100\r\n\r\n" + DATA[:100])
                connection.recv(4096)

        with ThreadPoolExecutor(1) as pool:
            pool.submit(serve)
            assert outcome(wire, href) is None


def batch(server: RangeServer, names: str, stores: Stores) -> list[Header | Failure]:
    assets = [Asset(band=name.upper(), key=name, href=f"{server.url}/{name}.tif", band_index=0) for name in names]
    return fetch_headers(assets, stores, effort=EFFORT, first_range={}).results


@pytest.fixture
def known(server: RangeServer) -> Stores:
    """Of a server that is well, and has connections open."""
    pixels = np.random.default_rng(1).integers(0, 4000, (1024, 1024), dtype=np.uint16)
    image = io.BytesIO()
    tifffile.imwrite(image, pixels, tile=(256, 256), metadata=None)
    for name in "abcdefgh":
        server.files[f"/{name}.tif"] = image.getvalue()
    gates = Gates()
    stores = Stores(AuthRef(), effort=EFFORT, secrets=environment_secrets, source=server.url, gates=gates)
    server.faults["*"] = Hang(0.3, times=4)
    assert all(isinstance(header, Header) for header in batch(server, "abcdefgh", stores))
    for _ in range(100):
        gates.of(server.host).answered()
    server.log.clear()
    return stores


def test_the_ordinary_needs_no_thread(server: RangeServer, known: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise AssertionError("a thread was asked for")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", none)
    assert all(isinstance(header, Header) for header in batch(server, "abcd", known))
    assert len(server.log) == 4


def leave_two_connections(server: RangeServer, stores: Stores) -> None:
    wire = stores.locate(f"{server.url}/a.tif").store
    assert isinstance(wire, Wire)
    question = wire.question(f"{server.url}/a.tif", 0, 1, ())
    assert question is not None
    while len(question.origin.idle) > 2:
        question.origin.idle.pop().close()


def test_a_missing_connection_is_opened_by_a_thread_and_used_by_the_lane(
    server: RangeServer, known: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else threads take connections from the lane, and do its work where there are more requests than threads."""

    def nothing(*_: object) -> None:
        raise AssertionError("a thread asked")

    leave_two_connections(server, known)
    monkeypatch.setattr(Transfer, "range", nothing)
    assert all(isinstance(header, Header) for header in batch(server, "abcdefgh", known))
    assert len(server.log) == 8


def test_a_connection_that_cannot_be_opened_is_a_try(server: RangeServer, known: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals: list[str] = []

    def refused(_: Wire, href: str) -> None:
        refusals.append(href)
        raise ConnectionRefusedError("nobody there")

    leave_two_connections(server, known)
    monkeypatch.setattr(Wire, "open", refused)
    assert all(isinstance(header, Header) for header in batch(server, "abcdefgh", known))
    assert len(refusals) == 6
    assert len(server.log) == 8


@pytest.mark.parametrize(
    ("fault", "reason", "requests"),
    [
        (Status(404), "missing", 1),
        (Status(500), "server", 3),
        (Status(429, retry_after="0.2", times=1), "", 2),
        (Status(503, times=1), "", 2),
        (Redirect("/h.tif"), "", 1),
        (Cut(1000), "network", 3),
        (Cut(1000, times=1), "", 2),
        (Html(), "html", 1),
        (Gzip(), "server-ranges", 2),
        (NoRange(), "server-ranges", 2),
    ],
    ids=["404", "500", "429", "503", "redirect", "cut", "cut-once", "html", "gzip", "no-ranges"],
)
def test_what_fails_is_asked_as_often_as_by_threads(server: RangeServer, known: Stores, fault: Fault, reason: str, requests: int) -> None:
    server.faults["/b.tif"] = fault
    first, second, third = batch(server, "abc", known)
    assert isinstance(first, Header)
    assert isinstance(third, Header)
    assert (second.reason if isinstance(second, Failure) else "") == reason
    assert len(server.requests_of("/b.tif")) == requests


def test_refusals_end_the_batch(server: RangeServer, known: Stores) -> None:
    server.faults["*"] = Status(403)
    with pytest.raises(AccessDenied):
        batch(server, "abcdefgh", known)
    assert len(server.log) <= 8


def test_a_busy_host_is_slowed_down_once_for_a_burst(server: RangeServer, known: Stores) -> None:
    """What was on its way together counts as one refusal, as it does where threads ask."""
    server.faults["*"] = Status(503, times=4)
    assert all(isinstance(header, Header) for header in batch(server, "abcd", known))
    assert known.gate(server.host).turns.window > 2
