"""How a host is treated by all threads of this process: when it may be asked again, and whether it may be asked at all."""

from __future__ import annotations

import ipaddress
import random
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import SplitResult, urlsplit

from rasterloom.access.network.governor import Ticket, Turns
from rasterloom.errors import AccessDenied, Unavailable, Unreadable

LONGEST_WAIT = 300.0
"""Seconds of Retry-After that are honoured; a host that asks for more is given up for this run."""
DEADLINE = 120.0
"""Seconds for one answer with all its retries, waits that the host asked for apart."""
CONSECUTIVE_FAILURES = 20
"""So many requests in a row that failed after all their retries, or so many tries of a host that never answered: it is down."""
CONSECUTIVE_DENIALS = 5
"""More refusals in a row than this: it is not the file, it is the credentials."""
FREE_RETRIES = 100
RETRY_SHARE = 0.2
"""Retries allowed per host: FREE_RETRIES, and then this share of the requests, so that retries never become the load."""
FIRST_BACKOFF, LONGEST_BACKOFF = 0.25, 20.0

Addresses = list[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]]
"""Rows of `socket.getaddrinfo`."""
_ALWAYS = frozenset({"https", "s3", "gs", "az", "abfs", "abfss"})
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def retry_after_seconds(value: str | None, *, now: datetime | None = None) -> float | None:
    """Seconds of a `Retry-After` header: a number or an HTTP date (RFC 9110 10.2.3). None where it says nothing usable."""
    if not value:
        return None
    try:
        return max(0.0, float(value)) if value.strip().replace(".", "", 1).isdigit() else _until(value, now or datetime.now(UTC))
    except (ValueError, OverflowError):
        return None


def _until(date: str, now: datetime) -> float:
    moment = parsedate_to_datetime(date)
    return max(0.0, ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds())


def backoff_seconds(attempt: int) -> float:
    """Full jitter (AWS architecture blog): anything between 0 and the exponential bound; `attempt` counts from 1."""
    return random.uniform(0.0, min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0**attempt))


class Gate:
    """The one door to a host. Threads pass `enter` before each request, `leave` after it, and say how it went."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.answers = 0
        """Requests that the host answered, 404 and 403 among them."""
        self.turns = Turns(host)
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._closed_until = 0.0
        self._requests = 0
        self._retries = 0
        self._failures = 0
        self._denials = 0
        self._in_vain = 0

    def enter(self, sleep: Callable[[float], object] = time.sleep) -> Ticket:
        """Come back when the host may be asked. Raises `Unavailable` while it is down."""
        self.wait(sleep)
        return self.turns.enter(sleep)

    def leave(self, ticket: Ticket) -> None:
        self.turns.leave(ticket)

    @contextmanager
    def turn(self, sleep: Callable[[float], object] = time.sleep) -> Generator[Ticket]:
        ticket = self.enter(sleep)
        try:
            yield ticket
        finally:
            self.leave(ticket)

    def wait(self, sleep: Callable[[float], object] = time.sleep) -> None:
        """Come back when the pause that the host asked for is over."""
        while (left := self._closed_until - time.monotonic()) > 0:
            sleep(left)

    def close_for(self, seconds: float) -> None:
        """The host asked for a pause: all threads keep it. Raises `Unavailable` where that is longer than LONGEST_WAIT."""
        if seconds > LONGEST_WAIT:
            raise Unavailable(
                f"{self.host} asks to be left alone for {seconds:.0f} s", remedy="run again after that time", retry_after=seconds
            )
        with self._lock:
            self._closed_until = max(self._closed_until, time.monotonic() + seconds)

    @property
    def closed(self) -> bool:
        return self._closed_until > time.monotonic()

    @contextmanager
    def asking(self) -> Generator[bool]:
        """Yields True to the one thread that is to ask the host how long it wants to be left alone; the others need not."""
        first = self._asking.acquire(blocking=False)
        try:
            yield first and not self.closed
        finally:
            if first:
                self._asking.release()

    def answered(self) -> None:
        """An answer that is no failure of the host: a success, and also a 404."""
        self.answers += 1  # without the lock: a lost count costs nothing, a lock per request does
        if self._failures or self._denials:
            self._failures = self._denials = 0
        if self.turns.strained:
            self.turns.succeeded()

    def throttled(self, ticket: Ticket, *, most: int) -> None:
        """The host says that it has too much to do (429, 503): less goes to it at once until it answers again."""
        self.turns.throttled(ticket, most)

    def stumbled(self, message: str) -> None:
        """One try failed and may be repeated. Raises `Unavailable` where the host has never answered and keeps failing."""
        if self.answers:
            return
        with self._lock:
            self._in_vain += 1
            if self._in_vain < CONSECUTIVE_FAILURES:
                return
            self._in_vain = 0
        raise self.turns.break_off(f"answered none of {CONSECUTIVE_FAILURES} requests: {message}")

    def may_retry(self) -> bool:
        """Take one retry out of the budget, or learn that it is used up."""
        with self._lock:
            self._requests += 1
            if self._retries >= FREE_RETRIES + RETRY_SHARE * (self._requests + self.answers):
                return False
            self._retries += 1
            return True

    def failed(self, message: str) -> None:
        """A request failed for good. Raises `Unavailable` when too many did in a row: the host is down, and nobody asks it for a while."""
        with self._lock:
            self._failures += 1
            if self._failures < CONSECUTIVE_FAILURES and not self.turns.down:
                return
            self._failures = 0
        how = "still fails" if self.turns.down else f"failed {CONSECUTIVE_FAILURES} requests in a row"
        raise self.turns.break_off(f"{how}: {message}")

    def denied(self, message: str) -> None:
        """A request was refused (401, 403). Raises `AccessDenied` when that is no exception any more."""
        self.answers += 1
        if self.turns.strained:
            self.turns.succeeded()
        with self._lock:
            self._denials += 1
            if self._denials <= CONSECUTIVE_DENIALS:
                return
            self._denials = 0
        raise AccessDenied(
            f"{self.host} refused {CONSECUTIVE_DENIALS + 1} requests in a row, the last one: {message}",
            remedy="check auth in the spec (provider, region, requester_pays) and the credentials of this machine",
        )


class Gates:
    """One gate per host."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._gates: dict[str, Gate] = {}
        self._limits: dict[str, int] = {}

    def of(self, host: str) -> Gate:
        return self._gates.get(host) or self._made(host)

    def keep_to(self, limits: Iterable[tuple[str, int]]) -> None:
        """Requests at once by host, with or without its port, or `s3://bucket`; from now on, for every task of the process."""
        with self._lock:
            self._limits |= dict(limits)
            for gate in self._gates.values():
                self._limit(gate)

    def _made(self, host: str) -> Gate:
        with self._lock:
            gate = self._gates.get(host)
            if gate is None:
                gate = self._gates[host] = Gate(host)
                self._limit(gate)
            return gate

    def _limit(self, gate: Gate) -> None:
        name = gate.host.lower()
        limit = self._limits.get(name) or self._limits.get(name.partition(":")[0])
        if limit:
            gate.turns.keep_to(limit)


def host_of(href: str) -> str:
    """The host and port of an href, or `s3://bucket`, as limits name it; empty for a file."""
    parts = urlsplit(href)
    host = parts.netloc.rpartition("@")[2].lower()
    return host if parts.scheme.lower() in ("http", "https", "") else f"{parts.scheme.lower()}://{host}" if host else ""


PROCESS_GATES = Gates()
"""A pause that a host asks for holds for every task of the process, whichever objects it made: the one shared state of this room."""


class Policy:
    """Which hosts an href of an item or of a table may send us to: nobody's catalog may make us ask this machine's neighbours.

    `source` is the catalog that the hrefs come from. One that is local itself, or on a private host, may point to such places; a
    public one may not, unless `allow_private`. Files of this machine are for catalogs on this machine, plain http for those that are
    read by plain http themselves. The check is by
    address, once per host and policy, and again for the address that is connected to where a host is not vouched for (`strict`).
    """

    def __init__(self, *, allow_private: bool, source: str | None = None) -> None:
        self._lock = threading.Lock()
        self._refusals: dict[str, str] = {}
        self._private = allow_private or (source is not None and is_private_place(source))
        plain = self._private or (source is not None and urlsplit(source).scheme.lower() == "http")
        files = self._private and (source is None or is_this_machine(source))
        self._schemes = _ALWAYS | ({"http"} if plain else set()) | ({"file", ""} if files else set())

    def check(self, parts: SplitResult) -> None:
        """Raises `Unreadable` (`forbidden-host`) where a split href leads to a place it may not lead to."""
        scheme = parts.scheme.lower()
        if scheme not in self._schemes:
            raise _forbidden(f"{scheme or 'file'}: hrefs are read only from a catalog that is local itself")
        if scheme in ("http", "https") and not self._private and (refusal := self._refusal(parts.hostname or "")):
            raise _forbidden(refusal)

    def addresses(self, host: str, port: int) -> Addresses:
        """What to connect to, checked. Raises `Unreadable` (`forbidden-host`), and `socket.gaierror`."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        private = None if self._private else next((row for row in found if not _is_public(str(row[4][0]))), None)
        if private is not None:
            raise _forbidden(_private_host(host, str(private[4][0])))
        return found

    def _refusal(self, host: str) -> str:
        """Why `host` may not be asked, or an empty text."""
        known = self._refusals.get(host)
        if known is None:
            address = private_address(host)
            known = _private_host(host, address) if address else ""
            with self._lock:
                self._refusals[host] = known
        return known


def _forbidden(message: str) -> Unreadable:
    return Unreadable(message, reason="forbidden-host", remedy="read such files from a catalog in the same private network")


def _private_host(host: str, address: str) -> str:
    return f"{host} is {address}, an address of a private network"


def is_private_place(place: str) -> bool:
    """Whether a URL or path is on this machine or in its private network."""
    parts = urlsplit(place)
    scheme = parts.scheme.lower()
    return scheme in ("", "file") or (scheme in ("http", "https") and private_address(parts.hostname or "") is not None)


def is_this_machine(place: str) -> bool:
    """Whether a URL or path is a file or a service of this machine."""
    parts = urlsplit(place)
    if parts.scheme.lower() in ("", "file"):
        return True
    address = private_address(parts.hostname or "")
    return parts.scheme.lower() in ("http", "https") and address is not None and ipaddress.ip_address(address.partition("%")[0]).is_loopback


def private_address(host: str) -> str | None:
    """The first address of `host` that is not on the public internet; None where all are, or where it cannot be resolved.

    A name that this machine cannot resolve is left to the request itself: it fails there, or goes through the configured proxy.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return None
    return next((address for address in (str(row[4][0]) for row in found) if not _is_public(address)), None)


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ipaddress.ip_address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None)
        ip = inner or ip
    return ip.is_global and not ip.is_multicast
