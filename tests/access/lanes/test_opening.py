"""Connections that a lane opens while it does something else, and large ranges that it receives where they stay."""

from __future__ import annotations

import socket
from contextlib import closing
from http.client import IncompleteRead

import pytest

from rasterloom.access.network.dial import Opening
from rasterloom.access.network.hosts import Addresses, Policy
from rasterloom.access.network.lane import Lane
from rasterloom.access.network.wire import LARGE, Part, Wire
from tests.access.lanes.asking import DATA, outcomes
from tests.internet import Authority
from tests.servers import Cut, RangeServer, free_port

END = 10 * LARGE
"""Of a range that comes in many pieces."""


def ask_over(lane: Lane[str], wire: Wire, href: str, start: int, end: int) -> None:
    question = wire.question(href, start, end, ())
    assert question is not None
    opening = wire.opening(question.origin)
    assert opening is not None
    lane.ask_over(opening, question, href)


def test_connections_are_opened_side_by_side_and_used_again(wire: Wire, server: RangeServer, base: str) -> None:
    wire.find(f"{base}/a.tif")
    with closing(Lane[str](20)) as lane:
        for name in "abcdef":
            ask_over(lane, wire, f"{base}/{name}.tif", 7, 7 + END)
        found = outcomes(lane)
        assert len(found) == 6
        for part in found.values():
            assert isinstance(part, Part)
            assert (part.data, part.size) == (DATA[7 : 7 + END], len(DATA))
        question = wire.question(f"{base}/g.tif", 0, END, ())
        assert question is not None
        assert lane.ask(question, "g"), "the connections that were opened wait for the next request"
        part = outcomes(lane)["g"]
        assert isinstance(part, Part)
        assert part.data == DATA[:END]
    assert len(server.log) == 7


def test_a_large_answer_that_breaks_off_is_no_part(wire: Wire, server: RangeServer, base: str) -> None:
    server.faults["/a.tif"] = Cut(5 * LARGE)
    wire.find(f"{base}/a.tif")
    with closing(Lane[str](20)) as lane:
        ask_over(lane, wire, f"{base}/a.tif", 0, END)
        found = outcomes(lane)[f"{base}/a.tif"]
    assert isinstance(found, IncompleteRead)
    assert 0 < (found.expected or 0) <= END


def test_a_host_that_takes_no_connection_was_not_asked(wire: Wire) -> None:
    href = f"http://127.0.0.1:{free_port()}/a.tif"
    wire.find(href)
    question = wire.question(href, 0, 10, ())
    assert question is not None
    with closing(Lane[str](20)) as lane:
        try:
            opening = wire.opening(question.origin)
        except OSError:
            return  # it was told at once
        assert opening is not None
        lane.ask_over(opening, question, href)
        assert outcomes(lane) == {href: None}


def test_a_handshake_that_never_ends_was_no_question(trusted: Authority) -> None:
    """The host takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        wire = Wire(Policy(allow_private=True), timeout=20)
        href = f"https://127.0.0.1:{port}/a.tif"
        wire.find(href)
        question = wire.question(href, 0, 10, ())
        assert question is not None
        with closing(Lane[str](0.3)) as lane:
            ask_over(lane, wire, href, 0, 10)
            assert outcomes(lane) == {href: None}


def test_the_next_address_is_tried(server: RangeServer) -> None:
    host, _, port = server.host.partition(":")
    addresses: Addresses = [
        (socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, free_port())),
        (socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, int(port))),
    ]
    wire = Wire(Policy(allow_private=True), timeout=20)
    wire.find(f"{server.url}/a.tif")
    question = wire.question(f"{server.url}/a.tif", 0, 100, ())
    assert question is not None
    with closing(Lane[str](20)) as lane:
        lane.ask_over(Opening(addresses, None, host), question, "a")
        part = outcomes(lane)["a"]
    assert isinstance(part, Part)
    assert part.data == DATA[:100]


def test_a_proxy_is_for_threads(server: RangeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    wire = Wire(Policy(allow_private=True), timeout=20)
    wire.find("http://files.test/a.tif")
    question = wire.question("http://files.test/a.tif", 0, 100, ())
    assert question is not None
    assert wire.opening(question.origin) is None


def test_what_is_not_open_when_a_lane_ends_is_closed(wire: Wire) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        href = f"http://127.0.0.1:{listening.getsockname()[1]}/a.tif"
        wire.find(href)
        question = wire.question(href, 0, 10, ())
        assert question is not None
        opening = wire.opening(question.origin)
        assert opening is not None
        with closing(Lane[str](20)) as lane:
            lane.ask_over(opening, question, href)
        assert opening.socket.fileno() == -1
