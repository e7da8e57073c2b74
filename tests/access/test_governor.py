"""How a host is treated: few requests until it answers, fewer when it is busy, none while it is down. Counted, not timed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from rasterloom.access.archive.headers import fetch_headers
from rasterloom.access.archive.stores import Stores
from rasterloom.access.credentials.secrets import environment_secrets
from rasterloom.access.network.governor import COOL_DOWN, FIRST_WINDOW, SMALLEST, Ticket
from rasterloom.access.network.hosts import CONSECUTIVE_FAILURES, Gate, Gates
from rasterloom.access.values import Asset, Failure
from rasterloom.errors import AccessDenied, Unavailable
from rasterloom.raster.header import Header
from rasterloom.specs.effort import AuthRef, Effort
from tests.access.world import cog
from tests.servers import RangeServer, Request, Response, Status


@pytest.fixture
def gate() -> Gate:
    return Gates().of("h")


@pytest.fixture
def well(gate: Gate) -> Gate:
    """The gate of a host that has answered a hundred times."""
    for _ in range(100):
        gate.answered()
    return gate


def many(gate: Gate) -> list[Ticket]:
    """All turns that can be had at once."""
    taken: list[Ticket] = []
    try:
        while len(taken) < 300:
            taken.append(gate.enter(_no_waiting))
    except _WouldWaitError:
        pass
    return taken


class _WouldWaitError(Exception):
    pass


def _no_waiting(_seconds: float) -> None:
    raise _WouldWaitError


def test_an_unknown_host_gets_few_requests_and_one_that_answers_any_number(gate: Gate) -> None:
    first = many(gate)
    assert len(first) == FIRST_WINDOW
    for ticket in first:
        gate.leave(ticket)
        gate.answered()
    assert len(many(gate)) == 2 * FIRST_WINDOW
    for _ in range(100):
        gate.answered()
    assert len(many(gate)) == 300
    assert not gate.turns.strained


def test_who_waits_for_a_turn_goes_when_the_host_is_well(gate: Gate) -> None:
    """Without a single turn being given back: a host that is well has turns for all."""
    held = many(gate)
    with ThreadPoolExecutor(40) as pool:
        waiting = [pool.submit(gate.enter) for _ in range(40)]
        for _ in range(100):
            gate.answered()
        assert len([one.result(timeout=60) for one in waiting]) == 40
    assert len(held) == FIRST_WINDOW


def test_a_busy_host_gets_fewer_requests_and_then_more_again(well: Gate) -> None:
    ticket = well.enter()
    well.throttled(ticket, most=100)
    assert well.turns.window == pytest.approx(70)
    well.throttled(ticket, most=100)
    assert well.turns.window == pytest.approx(70), "what was under way when it slowed down says nothing new"
    for ticket in many(well):
        well.leave(ticket)
    well.throttled(well.enter(), most=100)
    assert well.turns.window == pytest.approx(49)
    for _ in range(3000):
        well.answered()
    assert not well.turns.strained


def test_below_one_request_at_once_there_are_gaps(well: Gate) -> None:
    for epoch in range(30):
        well.throttled(Ticket(epoch, counted=False), most=4)
    assert well.turns.window == SMALLEST
    well.leave(well.enter(lambda _: None))
    assert many(well) == []
    for _ in range(200):
        well.answered()
    assert not well.turns.strained


def test_a_limit_holds_however_well_the_host_is(well: Gate) -> None:
    well.turns.keep_to(3)
    for _ in range(100):
        well.answered()
    taken = many(well)
    assert len(taken) == 3
    well.leave(taken.pop())
    assert len(many(well)) == 1


def test_turns_are_never_more_than_the_limit(well: Gate) -> None:
    well.turns.keep_to(4)
    lock, at_once, most = threading.Lock(), 0, 0

    def work(_: int) -> None:
        nonlocal at_once, most
        with well.turn():
            with lock:
                at_once += 1
                most = max(most, at_once)
            well.answered()
            with lock:
                at_once -= 1

    with ThreadPoolExecutor(24) as pool:
        list(pool.map(work, range(2000)))
    assert most <= 4


def test_who_waits_may_be_called_off(well: Gate) -> None:
    well.turns.keep_to(1)
    well.enter()
    with pytest.raises(_WouldWaitError):
        well.enter(_no_waiting)


def test_failures_in_a_row_open_the_circuit(well: Gate) -> None:
    for _ in range(19):
        well.failed("x")
    well.answered()
    for _ in range(19):
        well.failed("x")
    with pytest.raises(Unavailable, match="h failed 20 requests in a row: last words"):
        well.failed("last words")
    with pytest.raises(Unavailable, match="last words"):
        well.enter()


def test_a_host_that_never_answered_is_down_after_few_tries(gate: Gate) -> None:
    for _ in range(CONSECUTIVE_FAILURES - 1):
        gate.stumbled("x")
    with pytest.raises(Unavailable, match="h answered none of 20 requests: refused"):
        gate.stumbled("refused")


def test_one_request_finds_out_whether_a_host_is_up_again(well: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    error = well.turns.break_off("is down")
    assert error.exit_code == 4
    monkeypatch.setattr("rasterloom.access.network.governor.time.monotonic", lambda: 1e9 + COOL_DOWN)
    (probe,) = many(well)
    assert probe.probe
    with pytest.raises(Unavailable, match="still fails"):
        well.failed("x")
    monkeypatch.setattr("rasterloom.access.network.governor.time.monotonic", lambda: 2e9)
    well.leave(probe)
    (probe,) = many(well)
    well.leave(probe)
    well.answered()
    assert len(many(well)) > 1


def test_denials_in_a_row_are_the_credentials(gate: Gate) -> None:
    for _ in range(5):
        gate.denied("x")
    with pytest.raises(AccessDenied, match="6 requests in a row"):
        gate.denied("x")


def test_retries_have_a_budget(gate: Gate) -> None:
    assert sum(gate.may_retry() for _ in range(1000)) <= 100 + 0.2 * 1000
    for _ in range(10_000):
        gate.answered()
    assert gate.may_retry()


# --- through the header stage -----------------------------------------------------------------------------------------------------


class Busy(RangeServer):
    """Refuses what goes beyond so many requests at once, without a word about when to come again."""

    def __init__(self, files: dict[str, bytes], most: int) -> None:
        super().__init__(files, latency=0.0)
        self.most, self.most_at_once, self.refused = most, 0, 0
        self._at_once = 0
        self._counting = threading.Lock()

    def answer(self, request: Request) -> Response:
        with self._counting:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            busy = self._at_once > self.most
            self.refused += busy
        try:
            self.stopping.wait(0.005)
            good = super().answer(request)
            return Response(429, b"slow down") if busy else good
        finally:
            with self._counting:
                self._at_once -= 1


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    data = cog()
    return {f"/{number}.tif": data for number in range(300)}


@pytest.fixture
def busy(files: dict[str, bytes]) -> Iterator[Busy]:
    with Busy(files, most=4) as server:
        yield server


def fetched(server: RangeServer, count: int, effort: Effort, gates: Gates | None = None) -> list[Header | Failure]:
    stores = Stores(AuthRef(), effort=effort, secrets=environment_secrets, source=server.url, gates=gates or Gates())
    assets = [Asset(band="B", key="k", href=f"{server.url}/{number}.tif", band_index=0) for number in range(count)]
    return fetch_headers(assets, stores, effort=effort, first_range={}).results


def test_a_busy_host_serves_everything_in_its_own_time(busy: Busy) -> None:
    gates = Gates()
    results = fetched(busy, 300, Effort(max_concurrent=64), gates)
    assert all(isinstance(result, Header) for result in results)
    assert busy.refused > 0
    assert len(busy.log) < 2 * 300
    assert gates.of(busy.host).turns.window < 64


def test_a_limit_of_the_spec_is_never_exceeded(busy: Busy) -> None:
    results = fetched(busy, 100, Effort(max_concurrent=64, limits=((busy.host, 3),)))
    assert all(isinstance(result, Header) for result in results)
    assert busy.refused == 0
    assert busy.most_at_once <= 3


def test_a_host_that_was_never_up_gets_few_requests(files: dict[str, bytes]) -> None:
    with RangeServer(files) as server:
        server.faults["*"] = Status(502)
        with pytest.raises(Unavailable, match="answered none of 20 requests"):
            fetched(server, 300, Effort(max_concurrent=64))
        assert len(server.log) <= CONSECUTIVE_FAILURES + FIRST_WINDOW


def test_other_batches_do_not_ask_a_host_that_is_down(files: dict[str, bytes]) -> None:
    with RangeServer(files) as server:
        server.faults["*"] = Status(502)
        gates, effort = Gates(), Effort(max_concurrent=64)
        for _ in range(3):
            with pytest.raises(Unavailable):
                fetched(server, 300, effort, gates)
        # but for one probe after the pause, on a slow machine
        assert len(server.log) <= CONSECUTIVE_FAILURES + 2 * FIRST_WINDOW
