"""The header stage: one ranged GET per file where that is enough, on a bounded pool of threads, and no exception for one bad file."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import obstore as obs
import requests

from rasterloom.access.hosts import DEADLINE, LONGEST_WAIT, Gate, backoff_seconds, retry_after_seconds
from rasterloom.access.stores import CONNECT_TIMEOUT, Located, Stores
from rasterloom.access.translate import FOREIGN, Fault, Kind, failure_of, fault_of, http_status, raised, summary
from rasterloom.access.values import Asset, Failure, Traffic
from rasterloom.errors import AccessDenied, RasterloomError, SpecError, Unavailable, Unreadable
from rasterloom.raster.header import Header
from rasterloom.raster.tiff import Buffer, NeedMore, read_header
from rasterloom.specs.effort import Effort

FIRST_RANGE = 16384
"""Bytes of the first request for an asset key nobody has seen yet: enough for all directories of an ordinary COG."""
STEP, SMALLEST, LARGEST = 4096, 4096, 262144
"""A learned first range is rounded up to STEP and kept in SMALLEST..LARGEST."""
WIDEST = 256
"""Threads; more of them cost CPU and bring no throughput."""
MOST_PARTS = 16
"""Range requests for one header."""
WHOLE_FILE = 1 << 20
"""A file up to this many bytes is read whole where its server cannot do ranges."""

_SHORT = Fault(Kind.UNREADABLE, "server-ranges", "the server must answer range requests; use another href of the asset")
_CHANGED = Fault(Kind.UNREADABLE, "changed", "the file was replaced while it was read: run again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    """What came of the assets of one batch."""

    results: list[Header | Failure]
    """In the order asked. A failure names band and href; its `item_id` is the caller's to fill in."""
    traffic: Traffic
    first_range: dict[str, int]
    """Asset key -> bytes that the first request of the next batch should ask for (99th percentile of what was needed)."""


@dataclass(frozen=True, slots=True)
class _Part:
    data: bytes
    size: int
    etag: str | None


@dataclass(frozen=True, slots=True)
class _Outcome:
    result: Header | BaseException
    attempts: int
    bytes: int
    first_seen: datetime
    last_seen: datetime


def fetch_headers(assets: Sequence[Asset], stores: Stores, *, effort: Effort, first_range: Mapping[str, int]) -> Headers:
    """The header of every asset, or why there is none. The same href is asked once.

    Raises `Unavailable` or `AccessDenied` for the batch only where it is not the files: a host that is down, that refuses everything
    or asks for a pause longer than we wait, or a batch of which nothing could be read; `SpecError` where auth is incomplete.
    """
    wanted: dict[str, int] = {}
    for asset in assets:
        wanted[asset.href] = max(wanted.get(asset.href, 0), _first_request(first_range.get(asset.key, FIRST_RANGE)))
    outcomes = _Batch(stores, effort).run(wanted)
    _refuse_total_loss(outcomes)
    return Headers(
        results=[_result(asset, outcomes[asset.href]) for asset in assets],
        traffic=Traffic(requests=sum(o.attempts for o in outcomes.values()), bytes=sum(o.bytes for o in outcomes.values())),
        first_range=_learned(assets, outcomes),
    )


def _first_request(needed: int) -> int:
    return min(LARGEST, max(SMALLEST, -(-needed // STEP) * STEP))


def _learned(assets: Sequence[Asset], outcomes: Mapping[str, _Outcome]) -> dict[str, int]:
    """A header that lies further back than LARGEST (directories at the end of the file) is out of reach of any first range."""
    ends: dict[str, list[int]] = {}
    for asset in assets:
        result = outcomes[asset.href].result
        if isinstance(result, Header) and result.header_end <= LARGEST:
            ends.setdefault(asset.key, []).append(result.header_end)
    return {key: sorted(found)[math.ceil(0.99 * len(found)) - 1] for key, found in ends.items()}


def _result(asset: Asset, outcome: _Outcome) -> Header | Failure:
    result = outcome.result
    if isinstance(result, Header):
        if 0 <= asset.band_index < result.samples_per_pixel:
            return result
        message = f"the file has {result.samples_per_pixel} samples and no sample {asset.band_index}"
        result = Unreadable(message, reason="band-index", remedy="correct band_index_map")
    return failure_of(
        result,
        stage="header",
        band=asset.band,
        href=asset.href,
        attempts=outcome.attempts,
        first_seen=outcome.first_seen,
        last_seen=outcome.last_seen,
    )


def _refuse_total_loss(outcomes: Mapping[str, _Outcome]) -> None:
    """A batch of which every file failed for the same systemic kind of reason says nothing about the files."""
    errors = [outcome.result for outcome in outcomes.values() if not isinstance(outcome.result, Header)]
    if not errors or len(errors) < len(outcomes):
        return
    kinds = {fault_of(error).kind if isinstance(error, FOREIGN) else Kind.UNREADABLE for error in errors}
    if kinds in ({Kind.UNAVAILABLE}, {Kind.DENIED}):
        fault = fault_of(errors[0])
        raise raised(fault, f"not one of {len(errors)} files could be read, the first one: {summary(errors[0])}")


class _Batch:
    """The threads of one call, and what stops them all."""

    def __init__(self, stores: Stores, effort: Effort) -> None:
        self.stores = stores
        self.effort = effort
        self._stop = threading.Event()
        self._error: RasterloomError | None = None

    def run(self, wanted: Mapping[str, int]) -> dict[str, _Outcome]:
        """Href -> outcome. Raises what one of the threads met and that concerns them all."""
        left = deque(wanted.items())
        outcomes: dict[str, _Outcome] = {}
        width = max(1, min(self.effort.max_concurrent, WIDEST, len(wanted)))
        with ThreadPoolExecutor(width, thread_name_prefix="headers") as pool:
            try:
                # one long task per thread: a future per header costs a tenth of the header
                for done in [pool.submit(self._work, left, outcomes) for _ in range(width)]:
                    done.result()
            finally:
                self._stop.set()
        if self._error is not None:
            raise self._error
        return outcomes

    def _work(self, left: deque[tuple[str, int]], outcomes: dict[str, _Outcome]) -> None:
        while not self._stop.is_set():
            try:
                href, first = left.popleft()
            except IndexError:
                return
            try:
                outcomes[href] = _Reading(self, href).outcome(first)
            except (Unavailable, AccessDenied, SpecError) as error:
                self._error = self._error or error
                self._stop.set()

    def sleep(self, seconds: float) -> None:
        """Sleeps, unless the batch stops: then raises `Unavailable`, which nobody sees behind the error that stopped it."""
        if self._stop.wait(seconds):
            raise Unavailable("the batch was stopped", remedy="see the first error")


class _Reading:
    """One header under way: its attempts, its bytes and its deadline."""

    def __init__(self, batch: _Batch, href: str) -> None:
        self.batch = batch
        self.href = href
        self.attempts = 0
        self.bytes = 0
        self.waited = 0.0
        self.started = time.monotonic()
        self.first_seen = datetime.now(UTC)

    def outcome(self, first: int) -> _Outcome:
        result: Header | BaseException
        try:
            located = self.batch.stores.locate(self.href)
            result = self._guarded(located, self.batch.stores.gate(located.host), first)
        except Unreadable as error:
            result = error
        return _Outcome(result, self.attempts, self.bytes, self.first_seen, datetime.now(UTC))

    def _guarded(self, located: Located, gate: Gate, first: int) -> Header | BaseException:
        """The header, or the error of this one file; the gate hears of it and may raise for all."""
        try:
            return self._header(located, gate, first)
        except FOREIGN as error:
            match fault_of(error).kind:
                case Kind.DENIED:
                    gate.denied(summary(error))
                case Kind.UNAVAILABLE:
                    gate.failed(summary(error))
                case _:
                    gate.answered()
            return error

    def _header(self, located: Located, gate: Gate, first: int) -> Header:
        try:
            return self._read(located, gate, first)
        except Unreadable as error:
            if error.reason != "changed":
                raise
        return self._read(located, gate, first)

    def _read(self, located: Located, gate: Gate, first: int) -> Header:
        """The parse loop: raises `Unreadable`, or one of FOREIGN where the transport gave up."""
        head = self._first(located, gate, first)
        buffer = Buffer(head.data, head.size)
        for _ in range(MOST_PARTS):
            try:
                return replace(read_header(buffer), etag=head.etag, size=head.size)
            except NeedMore as more:
                start, end = more.start, min(more.end, head.size)
            part = self._ask(located, gate, start, end)
            if part.etag != head.etag or part.size != head.size:
                raise raised(_CHANGED, "the file was replaced between two requests")
            buffer.add(start, part.data)
        raise Unreadable(f"the header lies in more than {MOST_PARTS} pieces", reason="scattered-header", remedy="rewrite the file as a COG")

    def _first(self, located: Located, gate: Gate, end: int) -> _Part:
        try:
            return self._ask(located, gate, 0, end)
        except (Unreadable, *FOREIGN) as error:
            reason = error.reason if isinstance(error, Unreadable) else fault_of(error).reason
            if reason != "server-ranges":
                raise
            whole = self._whole(located)
            if whole is None:
                raise
            return whole

    def _whole(self, located: Located) -> _Part | None:
        """The file without ranges, where it is small; an empty one cannot be asked for a range at all."""
        self.attempts += 1
        answer = obs.get(located.store, located.key)
        if answer.meta["size"] > WHOLE_FILE:
            return None
        data = answer.bytes().to_bytes()
        self.bytes += len(data)
        return _Part(data, len(data), answer.meta["e_tag"])

    def _ask(self, located: Located, gate: Gate, start: int, end: int) -> _Part:
        """One range, with retries."""
        tries = 0
        while True:
            self._pass(gate)
            self.attempts += 1
            try:
                part = _ranged(located, start, end)
            except FOREIGN as error:
                if not fault_of(error).retryable:
                    raise
                paused = self._heed(located, gate, http_status(error))
                tries += not paused
                if self._given_up(tries) or not (paused or gate.may_retry()):
                    raise
                self.batch.sleep(backoff_seconds(max(1, tries)))
            else:
                gate.answered()
                self.bytes += len(part.data)
                return part

    def _pass(self, gate: Gate) -> None:
        if gate.closed:
            before = time.monotonic()
            gate.wait(self.batch.sleep)
            self.waited += time.monotonic() - before

    def _given_up(self, tries: int) -> bool:
        worked = time.monotonic() - self.started - self.waited
        return tries > self.batch.effort.retries or worked > DEADLINE or self.waited > LONGEST_WAIT

    def _heed(self, located: Located, gate: Gate, status: int | None) -> bool:
        """Learn how long a busy host wants to be left alone, and close its gate for all. True = it asked for a pause.

        obstore does not show the headers of an answer, so one thread of the process asks again in its own way.
        """
        if status not in (429, 503) or not located.href.lower().startswith("http"):
            return False
        with gate.asking() as first:
            if first:
                self.attempts += 1
                pause = _pause_asked_by(located.href, self.batch.effort.timeout)
                if pause:
                    gate.close_for(pause)
        return gate.closed


def _ranged(located: Located, start: int, end: int) -> _Part:
    """Bytes `start <= byte < min(end, size)`. The lengths are checked: obstore hands out a short body without an error."""
    answer = obs.get(located.store, located.key, options={"range": (start, end)})
    data = answer.bytes().to_bytes()
    meta, got = answer.meta, answer.range  # each access builds them anew
    size = meta["size"]
    if got != (start, min(end, size)) or len(data) != got[1] - got[0]:
        raise raised(_SHORT, f"asked for bytes {start}..{end} of {size}, the server sent {len(data)} bytes as {got[0]}..{got[1]}")
    return _Part(data, size, meta["e_tag"])


def _pause_asked_by(href: str, timeout: float) -> float | None:
    """Seconds of `Retry-After` that the host answers with right now; None where it answers normally or says nothing."""
    try:
        with requests.get(
            href,
            headers={"Range": "bytes=0-0", "Accept-Encoding": "identity"},
            timeout=(CONNECT_TIMEOUT, timeout),
            stream=True,
            allow_redirects=False,
        ) as answer:
            return retry_after_seconds(answer.headers.get("Retry-After")) if answer.status_code in (429, 503) else None
    except requests.RequestException:
        # the host is in trouble: the ordinary backoff goes on
        return None
