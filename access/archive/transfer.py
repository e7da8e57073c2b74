"""Byte ranges of one object over a network that fails: retries that heed the host, deadlines, and lengths that are checked."""

from __future__ import annotations

import time
from collections.abc import Callable
from http.client import HTTPException

import obstore as obs
import requests

from rasterloom.access.archive.stores import CONNECT_TIMEOUT, Located
from rasterloom.access.network.governor import Ticket
from rasterloom.access.network.hosts import DEADLINE, LONGEST_WAIT, Gate, backoff_seconds, retry_after_seconds
from rasterloom.access.network.translate import FOREIGN, Fault, Kind, fault_of, http_status, raised, summary
from rasterloom.access.network.wire import Answer, Outcome, Part, Question, StatusError, Wire, WrongRange
from rasterloom.specs.effort import Effort

WHOLE_FILE = 1 << 20
"""A file up to this many bytes is read whole where its server cannot do ranges."""
LARGE = 1 << 16
"""Bytes of a range that are handed on where obstore has put them."""
BUSY = frozenset({429, 503})
"""Statuses by which a host says that it has too much to do."""
_SHORT = Fault(Kind.UNREADABLE, "server-ranges", "the server must answer range requests; use another href of the asset")


class Transfer:
    """All requests for one object: how many there were, what they brought, and when to give up."""

    __slots__ = (
        "_answers",
        "_begun",
        "_effort",
        "_paused",
        "_queued",
        "_renewed",
        "_sleep",
        "_started",
        "_ticket",
        "bytes",
        "gate",
        "located",
        "requests",
    )

    def __init__(self, located: Located, gate: Gate, *, effort: Effort, sleep: Callable[[float], object] = time.sleep) -> None:
        self.located = located
        self.gate = gate
        self.requests = 0
        self.bytes = 0
        self._effort = effort
        self._sleep = sleep
        self._paused = 0.0
        self._queued = 0.0
        self._renewed = False
        self._answers = gate.answers
        self._started = time.monotonic()
        self._ticket: Ticket | None = None
        self._begun: Answer | Exception | None = None

    def enter(self) -> None:
        """Wait for the turn of the next request, whoever sends it: `question`, or `range`. Raises `Unavailable`."""
        if self._ticket is None:
            self._ticket = self._entered()

    def enter_now(self) -> bool:
        """The same where nothing has to be waited for; else False."""
        if self._ticket is None and not self.gate.closed:
            self._ticket = self.gate.turns.enter_now()
        return self._ticket is not None

    def give_up(self) -> None:
        """Nobody asks any more: the turn is for others."""
        if self._ticket is not None:
            self.gate.leave(self._ticket)
            self._ticket = None

    def question(self, start: int, end: int) -> Question | None:
        """The first request of `range`, where it may be sent now: `take` its outcome. None: let `range` send it."""
        self._ticket = self._ticket or (None if self.gate.closed else self.gate.turns.free)
        wire = self.located.store
        return wire.question(self.located.href, start, end, self.located.headers) if isinstance(wire, Wire) and self._ticket else None

    def open(self, question: Question) -> bool:
        """A connection for the `question`, to be asked over by whoever sends it. False: that failed, which `range` takes for its first try.

        Raises `Unreadable` (`forbidden-host`).
        """
        wire = self.located.store
        assert isinstance(wire, Wire), "no other store has questions"
        try:
            question.origin.keep(wire.open(self.located.href))
        except (OSError, HTTPException) as error:
            self._begun = error
            return False
        self.give_up()  # it may have changed by the time the connection is used
        return True

    def take(self, outcome: Outcome) -> Part | None:
        """What came of the `question`. None: `range` goes on from there, and may have to wait."""
        if not isinstance(outcome, Part):
            self._begun = outcome
            return None
        self.give_up()
        self.requests += 1
        self.gate.answered()
        self.bytes += len(outcome.data)
        return outcome

    def first(self, end: int, *, whole: int = WHOLE_FILE) -> Part:
        """Bytes 0..end; a file of up to `whole` bytes whole, where its server cannot do ranges. Raises as `range`."""
        try:
            return self.range(0, end)
        except FOREIGN as error:
            ignored = fault_of(error).reason == _SHORT.reason and not isinstance(error, WrongRange)
            found = self._whole(whole) if ignored else None
            if found is None:
                raise
            return found

    def range(self, start: int, end: int) -> Part:
        """Bytes `start <= byte < end`, with retries.

        Raises one of FOREIGN for what is wrong with this object; `Unreadable` (`server-ranges`) for an answer that does not fit, or
        (`forbidden-host`) for a redirect to where it may not lead; and, through the gate, `Unavailable` or `AccessDenied` for what is
        wrong with the host.
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
            begun, self._begun = self._begun, None
            ticket = self._turn(begun)
            self.requests += 1
            try:
                part = ranged(self.located, start, end, begun)
            except FOREIGN as error:
                fault = fault_of(error)
                if fault.kind is Kind.DENIED and self._with_new_credential():
                    continue
                if not fault.retryable:
                    raise
                forgiven = self._forgiven(error, ticket)
                tries += not forgiven
                if self._given_up(tries) or not (forgiven or self.gate.may_retry()):
                    raise
            else:
                self.gate.answered()
                self.bytes += len(part.data)
                return part
            finally:
                self.gate.leave(ticket)
            self._sleep(backoff_seconds(max(1, tries)))

    def _turn(self, begun: Answer | Exception | None) -> Ticket:
        """The turn that was taken before, if it counts or its request was sent."""
        ticket, self._ticket = self._ticket, None
        return ticket if ticket is not None and (ticket.counted or begun is not None) else self._entered()

    def _entered(self) -> Ticket:
        """The turn to ask; the time until then is not the object's."""
        if self.gate.closed:
            before = time.monotonic()
            self.gate.wait(self._sleep)
            self._paused += time.monotonic() - before
        if not self.gate.turns.strained:
            return self.gate.turns.enter(self._sleep)
        before = time.monotonic()
        ticket = self.gate.turns.enter(self._sleep)
        self._queued += time.monotonic() - before
        return ticket

    def _forgiven(self, error: BaseException, ticket: Ticket) -> bool:
        """Tell the gate of a failed try. True where it counts for nothing: the host asked for a pause, or is busy with serving others.

        Raises `Unavailable` where the host is down, or wants to be left alone for longer than we wait.
        """
        status = http_status(error)
        if status not in BUSY:
            self.gate.stumbled(summary(error))
            return False
        self.gate.throttled(ticket, most=self._effort.max_concurrent)
        if self._heed(error):
            return True
        if status == 503:
            self.gate.stumbled(summary(error))
        before, self._answers = self._answers, self.gate.answers
        return self._answers > before

    def _with_new_credential(self) -> bool:
        if self.located.renew is None or self._renewed:
            return False
        self._renewed = True
        self.located = self.located.renew()
        return True

    def _given_up(self, tries: int) -> bool:
        worked = time.monotonic() - self._started - self._paused - self._queued
        return tries > self._effort.retries or worked > DEADLINE or self._paused > LONGEST_WAIT

    def _heed(self, error: BaseException) -> bool:
        """Learn how long a busy host wants to be left alone, and close its gate for all. True = it asked for a pause.

        obstore does not show the headers of an answer, so one thread of the process asks again in its own way.
        """
        if isinstance(error, StatusError):
            if error.retry_after:
                self.gate.close_for(error.retry_after)
            return self.gate.closed
        if not self.located.href.lower().startswith("http"):
            return False
        with self.gate.asking() as first:
            if first:
                self.requests += 1
                pause = _pause_asked_by(self.located.href, self._effort.timeout)
                if pause:
                    self.gate.close_for(pause)
        return self.gate.closed

    def _whole(self, largest: int) -> Part | None:
        """The file without ranges, where it is small; an empty one cannot be asked for a range at all."""
        self.requests += 1
        part = whole(self.located, largest)
        self.bytes += len(part.data) if part else 0
        return part


def ranged(located: Located, start: int, end: int, begun: Answer | Exception | None = None) -> Part:
    """Bytes `start <= byte < min(end, size)`. The lengths are checked: obstore hands out a short body without an error."""
    store = located.store
    if isinstance(store, Wire):
        return store.range(located.href, start, end, headers=located.headers, begun=begun)
    answer = obs.get(store, located.key, options={"range": (start, end)})
    body = answer.bytes()
    data = memoryview(body) if end - start > LARGE else body.to_bytes()
    meta, got = answer.meta, answer.range  # each access builds them anew
    size = meta["size"]
    if got != (start, min(end, size)) or len(data) != got[1] - got[0]:
        raise raised(_SHORT, f"asked for bytes {start}..{end} of {size}, the server sent {len(data)} bytes as {got[0]}..{got[1]}")
    return Part(data, size, meta["e_tag"])


def whole(located: Located, largest: int) -> Part | None:
    """The object without a range, or None where it is larger."""
    store = located.store
    if isinstance(store, Wire):
        return store.whole(located.href, largest, headers=located.headers)
    answer = obs.get(store, located.key)
    meta = answer.meta
    if meta["size"] > largest:
        return None
    data = answer.bytes().to_bytes()
    return Part(data, len(data), meta["e_tag"])


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
