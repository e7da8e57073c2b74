"""Byte ranges of one object over a network that fails: retries that heed the host, deadlines, and lengths that are checked."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import obstore as obs
import requests

from rasterloom.access.hosts import DEADLINE, LONGEST_WAIT, Gate, backoff_seconds, retry_after_seconds
from rasterloom.access.stores import CONNECT_TIMEOUT, Located
from rasterloom.access.translate import FOREIGN, Fault, Kind, fault_of, http_status, raised, summary
from rasterloom.specs.effort import Effort

WHOLE_FILE = 1 << 20
"""A file up to this many bytes is read whole where its server cannot do ranges."""
_SHORT = Fault(Kind.UNREADABLE, "server-ranges", "the server must answer range requests; use another href of the asset")


@dataclass(frozen=True, slots=True)
class Part:
    data: bytes
    size: int
    """Bytes of the whole object."""
    etag: str | None


class Transfer:
    """All requests for one object: how many there were, what they brought, and when to give up."""

    def __init__(self, located: Located, gate: Gate, *, effort: Effort, sleep: Callable[[float], object] = time.sleep) -> None:
        self.located = located
        self.gate = gate
        self.requests = 0
        self.bytes = 0
        self._effort = effort
        self._sleep = sleep
        self._waited = 0.0
        self._started = time.monotonic()

    def first(self, end: int) -> Part:
        """Bytes 0..end; a small file whole, where its server cannot do ranges. Raises as `range`."""
        try:
            return self.range(0, end)
        except FOREIGN as error:
            whole = self._whole() if fault_of(error).reason == _SHORT.reason else None
            if whole is None:
                raise
            return whole

    def range(self, start: int, end: int) -> Part:
        """Bytes `start <= byte < end`, with retries.

        Raises one of FOREIGN for what is wrong with this object; `Unreadable` (`server-ranges`) for an answer that does not fit; and,
        through the gate, `Unavailable` or `AccessDenied` for what is wrong with the host.
        """
        try:
            return self._retried(start, end)
        except FOREIGN as error:
            self._tell(error)
            raise

    def _tell(self, error: BaseException) -> None:
        match fault_of(error).kind:
            case Kind.DENIED:
                self.gate.denied(summary(error))
            case Kind.UNAVAILABLE:
                self.gate.failed(summary(error))
            case _:
                self.gate.answered()

    def _retried(self, start: int, end: int) -> Part:
        tries = 0
        while True:
            self._pass()
            self.requests += 1
            try:
                part = _ranged(self.located, start, end)
            except FOREIGN as error:
                if not fault_of(error).retryable:
                    raise
                paused = self._heed(http_status(error))
                tries += not paused
                if self._given_up(tries) or not (paused or self.gate.may_retry()):
                    raise
            else:
                self.gate.answered()
                self.bytes += len(part.data)
                return part
            self._sleep(backoff_seconds(max(1, tries)))

    def _whole(self) -> Part | None:
        """The file without ranges, where it is small; an empty one cannot be asked for a range at all."""
        self.requests += 1
        answer = obs.get(self.located.store, self.located.key)
        meta = answer.meta
        if meta["size"] > WHOLE_FILE:
            return None
        data = answer.bytes().to_bytes()
        self.bytes += len(data)
        return Part(data, len(data), meta["e_tag"])

    def _pass(self) -> None:
        if self.gate.closed:
            before = time.monotonic()
            self.gate.wait(self._sleep)
            self._waited += time.monotonic() - before

    def _given_up(self, tries: int) -> bool:
        worked = time.monotonic() - self._started - self._waited
        return tries > self._effort.retries or worked > DEADLINE or self._waited > LONGEST_WAIT

    def _heed(self, status: int | None) -> bool:
        """Learn how long a busy host wants to be left alone, and close its gate for all. True = it asked for a pause.

        obstore does not show the headers of an answer, so one thread of the process asks again in its own way.
        """
        if status not in (429, 503) or not self.located.href.lower().startswith("http"):
            return False
        with self.gate.asking() as first:
            if first:
                self.requests += 1
                pause = _pause_asked_by(self.located.href, self._effort.timeout)
                if pause:
                    self.gate.close_for(pause)
        return self.gate.closed


def _ranged(located: Located, start: int, end: int) -> Part:
    """Bytes `start <= byte < min(end, size)`. The lengths are checked: obstore hands out a short body without an error."""
    answer = obs.get(located.store, located.key, options={"range": (start, end)})
    data = answer.bytes().to_bytes()
    meta, got = answer.meta, answer.range  # each access builds them anew
    size = meta["size"]
    if got != (start, min(end, size)) or len(data) != got[1] - got[0]:
        raise raised(_SHORT, f"asked for bytes {start}..{end} of {size}, the server sent {len(data)} bytes as {got[0]}..{got[1]}")
    return Part(data, size, meta["e_tag"])


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
