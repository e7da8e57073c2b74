"""How the engine asks for ranges: over http by one thread, never more at once than it may, and nothing is held when it ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rasterloom.access.archive.stores import Stores
from rasterloom.access.credentials.secrets import environment_secrets
from rasterloom.access.network.governor import FIRST_WINDOW
from rasterloom.access.network.hosts import Gates
from rasterloom.access.network.wire import Wire
from rasterloom.access.pixels.engine import Engine
from rasterloom.access.pixels.values import BandFile, WindowRead
from rasterloom.raster.tiles import Window, whole
from rasterloom.specs.effort import AuthRef, Effort
from tests.access.engines import EFFORT, band_file
from tests.raster.corpus import write
from tests.servers import Hang, NoRange, RangeServer, Redirect, Request, Response, Status

COUNT = 60
EVERYTHING = Window(col=0, row=0, width=300, height=200)


class Counting(RangeServer):
    """Knows how many requests were with it at once."""

    def __init__(self, files: dict[str, bytes], latency: float) -> None:
        super().__init__(files, latency=latency)
        self._counting = threading.Lock()
        self._now = 0
        self.most = 0

    def answer(self, request: Request) -> Response:
        with self._counting:
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            return super().answer(request)
        finally:
            with self._counting:
                self._now -= 1


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    noise = np.random.default_rng(7).integers(1, 4000, (1, 200, 300)).astype("uint16")
    path = tmp_path_factory.mktemp("ranges") / "file.tif"
    write(path, noise, compress="deflate", predictor=2)
    return path


@pytest.fixture
def server(file: Path) -> Iterator[Counting]:
    with Counting({f"/{number}.tif": file.read_bytes() for number in range(COUNT)}, latency=0.02) as running:
        yield running


@pytest.fixture
def gates() -> Gates:
    return Gates()


def files_of(server: RangeServer, file: Path) -> list[BandFile]:
    first = band_file(file, 0)
    return [replace(first, href=f"{server.url}/{number}.tif") for number in range(COUNT)]


def engine(gates: Gates, effort: Effort = EFFORT) -> Engine:
    return Engine(Stores(AuthRef(), effort=effort, secrets=environment_secrets, gates=gates), effort=effort)


def reads(files: list[BandFile]) -> list[WindowRead]:
    return [WindowRead(file=one, window=whole(one.header.full)) for one in files]


def are_free(gates: Gates, server: RangeServer) -> bool:
    """Whether all turns were given back: of three that the host has now, three can be had."""
    turns = gates.of(server.host).turns
    turns.keep_to(3)
    tickets = [ticket for _ in range(4) if (ticket := turns.enter_now()) is not None]
    for ticket in tickets:
        turns.leave(ticket)
    return len(tickets) == 3


class Looking(Hang):
    """Sees how many requests there were before the first one was answered."""

    def __init__(self, server: RangeServer) -> None:
        super().__init__(0.3, times=FIRST_WINDOW)
        self._server = server
        self.seen = 0

    def apply(self, request: Request, good: Response) -> Response:
        answered = super().apply(request, good)
        self.seen = self.seen or len(self._server.log)
        return answered


def test_no_more_at_once_than_the_effort_says(server: Counting, file: Path, gates: Gates) -> None:
    for _ in range(100):
        gates.of(server.host).answered()  # a host that is well
    found = engine(gates, replace(EFFORT, max_concurrent=5)).read_all(reads(files_of(server, file)))
    assert len(server.log) == COUNT
    assert server.most <= 5
    assert all(np.array_equal(one.data, found[0].data) for one in found)


def test_an_unknown_host_gets_few_and_all_turns_come_back(server: Counting, file: Path, gates: Gates) -> None:
    server.faults["*"] = looking = Looking(server)
    some = engine(gates)
    some.read_all(reads(files_of(server, file)))
    assert 1 <= looking.seen <= FIRST_WINDOW
    assert some.traffic.requests == len(server.log) == COUNT
    assert are_free(gates, server)


def test_a_limit_of_the_spec_holds_for_what_one_thread_asks(server: Counting, file: Path, gates: Gates) -> None:
    effort = replace(EFFORT, limits=((server.host, 3),))
    engine(gates, effort).read_all(reads(files_of(server, file)))
    assert server.most <= 3
    assert are_free(gates, server)


def test_an_end_before_the_answers_holds_nothing(server: Counting, file: Path, gates: Gates) -> None:
    """Whatever is under way: in the lane, before it, and with threads that wait for a turn."""
    files = files_of(server, file)
    some = engine(gates, replace(EFFORT, max_concurrent=40))
    with closing(some.read(reads(files))) as answers:
        next(answers)
    assert are_free(gates, server)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("pixels")] == []
    again = some.read_all(reads(files))
    assert len(again) == COUNT


def test_what_is_not_ordinary_costs_what_it_does_for_threads(server: Counting, file: Path, gates: Gates) -> None:
    files = files_of(server, file)[:6]
    server.faults["/1.tif"] = Status(503, times=1)
    server.faults["/2.tif"] = Redirect("/5.tif")
    server.faults["/3.tif"] = NoRange()
    server.faults["/4.tif"] = Status(404)
    files.append(replace(files[0], href=f"{server.url}/0.tif?signed=x"))
    some = engine(gates)
    answers = {answer.index: answer.read for answer in some.read(reads(files))}
    assert {index: getattr(read, "reason", "") for index, read in answers.items()} == {
        0: "",
        1: "",
        2: "",
        3: "server-ranges",
        4: "missing",
        5: "",
        6: "",
    }
    assert len(server.requests_of("/1.tif")) == 2
    assert len(server.requests_of("/2.tif")) == 1
    assert len(server.requests_of("/4.tif")) == 1
    assert are_free(gates, server)


def test_a_second_call_uses_the_connections_of_the_first(
    server: Counting, file: Path, gates: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = engine(gates, replace(EFFORT, max_concurrent=1))
    some.read_all(reads(files_of(server, file)[:3]))

    def none(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(Wire, "opening", none)
    monkeypatch.setattr(Wire, "open", none)
    assert len(some.read_all(reads(files_of(server, file)))) == COUNT
