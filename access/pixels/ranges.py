"""Ranges of many files, so many at once: ordinary ones by one thread over the lane, whatever may have to wait by threads of its own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from http.client import HTTPException
from queue import Empty, SimpleQueue

from rasterloom.access.archive.transfer import Transfer
from rasterloom.access.network.dial import Opening
from rasterloom.access.network.hosts import host_of
from rasterloom.access.network.http1 import Connection
from rasterloom.access.network.lane import Lane
from rasterloom.access.network.wire import Outcome, Question, Wire
from rasterloom.access.pixels.fetch import Files
from rasterloom.access.pixels.values import BandFile
from rasterloom.errors import RasterloomError

_AHEAD = 4
"""Ranges that a thread gives to the lane before it gives way: the interpreter would let it go on for 5 ms, and nothing would be asked."""
_GIVES_WAY = 0.002
Came = Callable[[memoryview | RasterloomError], None]


class Fetch:
    """One range of a file. `then` is called once, by any thread."""

    __slots__ = ("connection", "end", "file", "question", "start", "then", "transfer")

    def __init__(self, file: BandFile, start: int, end: int, then: Came) -> None:
        self.file = file
        self.start = start
        self.end = end
        self.then = then
        self.transfer: Transfer | None = None
        self.question: Question | None = None
        self.connection: Connection | None = None
        """Opened for it, and not yet the lane's."""


class Ranges:
    """See above. `crashed` is called with what a thread met and does not know."""

    def __init__(self, files: Files, *, width: int, timeout: float, crashed: Callable[[BaseException], None]) -> None:
        self._files = files
        self._width = width
        self._crashed = crashed
        self._lock = threading.Lock()
        self._under_way: set[Fetch] = set()
        self._waiting: deque[Fetch] = deque()
        self._found_out: dict[str, list[Fetch]] = {}
        """Hosts that nothing is known of yet, and what waits for the first look at each."""
        self._closed = False
        self._pool = ThreadPoolExecutor(width, thread_name_prefix="pixels-io")
        self._lane: Lane[Fetch] = Lane(timeout)
        self._driver = threading.Thread(target=self._guarded, args=(self._drive,), name="pixels-lane", daemon=True)
        self._given: SimpleQueue[Fetch] = SimpleQueue()
        """For the lane."""
        self._taken = threading.Event()
        self._listens = False

    def close(self) -> None:
        """Comes back when no thread is left. What is under way in the lane is broken off."""
        with self._lock:
            self._closed = True
        self._lane.ring()
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._driver.ident is None:
            self._lane.close()
        else:
            self._driver.join()
        for fetch in self._under_way:
            self._drop(fetch)

    def submit(self, work: Callable[[], None]) -> None:
        """Something that waits for the network."""
        with self._lock:
            if not self._closed:
                self._pool.submit(self._guarded, work)

    def ask(self, fetch: Fetch) -> None:
        """Fetch it as soon as fewer than `width` are under way."""
        with self._lock:
            if len(self._under_way) >= self._width:
                self._waiting.append(fetch)
                return
            self._under_way.add(fetch)
        self._begin(fetch)

    # --- any thread

    def _begin(self, fetch: Fetch) -> None:
        if self._is_ordinary(fetch):
            self._give(fetch)
            return
        host = host_of(fetch.file.href) if fetch.transfer is None else ""
        with self._lock:
            if host in self._found_out:
                self._found_out[host].append(fetch)
                return
            if host:
                self._found_out[host] = []
        self.submit(partial(self._prepare, fetch, host))

    def _is_ordinary(self, fetch: Fetch) -> bool:
        """Whether the lane can ask it now, over a connection that is open or one that it opens."""
        fetch.transfer = self._files.known_transfer(fetch.file)
        if fetch.transfer is None:
            return False
        wire = fetch.transfer.located.store
        if not isinstance(wire, Wire) or not fetch.transfer.enter_now():
            return False
        fetch.question = fetch.transfer.question(fetch.start, fetch.end)
        return fetch.question is not None and (wire.finds(fetch.question.origin) or self._lane.has(fetch.question.origin))

    def _give(self, fetch: Fetch) -> None:
        """To the thread of the lane."""
        if threading.get_ident() == self._driver.ident:
            self._send(fetch)
            return
        self._taken.clear()
        self._given.put(fetch)
        with self._lock:
            if self._driver.ident is None and not self._closed:
                self._driver.start()
        if self._listens:
            self._lane.ring()
        if self._given.qsize() >= _AHEAD:
            self._taken.wait(_GIVES_WAY)

    def _done(self, fetch: Fetch, data: memoryview | RasterloomError) -> None:
        """The next one goes before anything else is done with the bytes."""
        if fetch.transfer is not None:
            fetch.transfer.give_up()
        with self._lock:
            self._under_way.discard(fetch)
            following = self._waiting.popleft() if self._waiting and not self._closed else None
            if following is not None:
                self._under_way.add(following)
        if following is not None:
            self._begin(following)
        fetch.then(data)

    def _drop(self, fetch: Fetch) -> None:
        if fetch.transfer is not None:
            fetch.transfer.give_up()
        if fetch.connection is not None:
            fetch.connection.close()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - nobody looks at these threads: the one that waits for answers raises it
            self._crashed(error)

    # --- threads that may wait

    def _prepare(self, fetch: Fetch, host: str = "") -> None:
        """Find the way to the host and wait for the turn; then the lane asks. What the lane cannot ask is fetched here.

        `host`: others wait for what this one finds out about it.
        """
        try:
            try:
                fetch.transfer = fetch.transfer or self._files.transfer(fetch.file)
                _find(fetch, fetch.transfer)
            finally:
                self._release(host)
            if _open(fetch, fetch.transfer):
                self._give(fetch)
                return
        except RasterloomError as error:
            self._done(fetch, error)
            return
        self._fetch(fetch)

    def _release(self, host: str) -> None:
        """Those that waited for the way to `host` go it, or find out for themselves that there is none."""
        with self._lock:
            others = self._found_out.pop(host, [])
        for fetch in others:
            if self._is_ordinary(fetch):
                self._give(fetch)
            else:
                self.submit(partial(self._prepare, fetch))

    def _fetch(self, fetch: Fetch) -> None:
        data: memoryview | RasterloomError
        try:
            data = self._files.range(fetch.file, fetch.start, fetch.end, fetch.transfer)
        except RasterloomError as error:
            data = error
        self._done(fetch, data)

    # --- the thread of the lane

    def _drive(self) -> None:
        with closing(self._lane):
            while not self._closed:
                self._listens = True  # whoever gives something from now on rings
                self._take_in()
                for fetch, outcome in self._lane.wait():
                    self._listens = False
                    self._came(fetch, outcome)
            self._files.broken_off(self._lane.busy)

    def _take_in(self) -> None:
        while True:
            try:
                fetch = self._given.get_nowait()
            except Empty:
                self._taken.set()
                return
            self._send(fetch)

    def _send(self, fetch: Fetch) -> None:
        question, connection = fetch.question, fetch.connection
        assert question is not None
        if connection is not None:
            fetch.connection = None
            self._lane.take(connection, question.origin)
        if self._lane.ask(question, fetch):
            return
        try:
            opening = _opening(fetch, question)
        except OSError:
            self.submit(partial(self._fetch, fetch))  # a thread tries again, and tells why not
            return
        if opening is not None:
            self._lane.ask_over(opening, question, fetch)
        else:
            # one that was opened for it is of no use: then a thread asks
            self.submit(partial(self._prepare if connection is None else self._fetch, fetch))

    def _came(self, fetch: Fetch, outcome: Outcome) -> None:
        assert fetch.transfer is not None
        part = fetch.transfer.take(outcome)
        if part is None:
            self.submit(partial(self._fetch, fetch))
            return
        data: memoryview | RasterloomError
        try:
            data = self._files.taken(fetch.file, fetch.start, fetch.end, part)
        except RasterloomError as error:
            data = error
        self._done(fetch, data)


def _wire_of(fetch: Fetch, transfer: Transfer) -> Wire | None:
    """The client whose requests a lane can send for this href."""
    store = transfer.located.store
    return store if isinstance(store, Wire) and store.takes(fetch.file.href) else None


def _find(fetch: Fetch, transfer: Transfer) -> None:
    """The way to its host. A host without one is left to `_open`, or to who fetches, to tell."""
    wire = _wire_of(fetch, transfer)
    if wire is not None:
        with suppress(OSError, HTTPException):
            wire.find(fetch.file.href)


def _open(fetch: Fetch, transfer: Transfer) -> bool:
    """Wait for the turn, and open a connection where the lane cannot. False: it is not for the lane."""
    wire = _wire_of(fetch, transfer)
    if wire is None:
        return False
    transfer.enter()
    fetch.question = transfer.question(fetch.start, fetch.end)
    if fetch.question is None or wire.finds(fetch.question.origin):
        return fetch.question is not None
    try:
        fetch.connection = wire.open(fetch.file.href)
    except (OSError, HTTPException) as error:
        transfer.take(error)
        return False
    return True


def _opening(fetch: Fetch, question: Question) -> Opening | None:
    """A connection of the lane's own; None where a thread has to open one. Raises OSError."""
    assert fetch.transfer is not None
    wire = fetch.transfer.located.store
    return wire.opening(question.origin) if isinstance(wire, Wire) else None
