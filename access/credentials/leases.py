"""Credentials that run out: one for all threads of the process, in memory alone, asked for again before they end."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from rasterloom.errors import Unavailable

SHARE = 0.8
"""Of its life after which a credential is asked for again."""
SHORTEST = 1.0
"""Seconds that one is used at least, whatever the clocks of both sides say: a wrong clock must not turn each read into a request."""
PAUSE = 10.0
"""Seconds until the next try where a new one could not be had and the old one still works, and between two that follow refusals: files
that are refused with any token must not turn into as many requests for tokens."""
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """What opens something until it ends."""

    value: Any = field(repr=False)
    ends: float
    """Unix time when it stops working."""
    renew_at: float
    """Unix time from which on a new one is asked for."""
    number: int
    """Another one for every lease of the process."""

    @property
    def renewal(self) -> datetime:
        """`renew_at` as obstore wants to be told when to ask again."""
        return datetime.fromtimestamp(self.renew_at, UTC)


def lease(value: Any, ends: datetime) -> Lease:
    """One that begins now."""
    now = time.time()
    end = ends.timestamp()
    return Lease(value=value, ends=end, renew_at=now + max(SHORTEST, SHARE * (end - now)), number=next(_numbers))


class Renewing:
    """The current lease of one thing. Thread-safe: of all threads that want a new one, one asks."""

    def __init__(self, fetch: Callable[[], Lease]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._lease: Lease | None = None
        self._dropped_at = -PAUSE

    def current(self) -> Lease:
        """Raises what `fetch` raises: `AccessDenied`, and `Unavailable` where no lease is left that still works."""
        found = self._lease
        if found is not None and time.time() < found.renew_at:
            return found
        with self._lock:
            found = self._lease
            if found is None or time.time() >= found.renew_at:
                found = self._lease = self._next(found)
            return found

    def _next(self, last: Lease | None) -> Lease:
        try:
            return self._fetch()
        except Unavailable:
            now = time.time()
            if last is None or now >= last.ends:
                raise
            return replace(last, renew_at=min(now + PAUSE, last.ends))

    def drop(self, number: int) -> None:
        """The lease of this number was refused: ask for another one, unless that was done already."""
        with self._lock:
            now = time.monotonic()
            if self._lease is not None and self._lease.number == number and now - self._dropped_at >= PAUSE:
                self._lease, self._dropped_at = None, now


class Leases:
    """One `Renewing` per thing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[Hashable, Renewing] = {}

    def of(self, key: Hashable, fetch: Callable[[], Lease]) -> Renewing:
        """`fetch` is that of the first caller: equal keys must mean equal ways to ask."""
        with self._lock:
            return self._found.setdefault(key, Renewing(fetch))

    def clear(self) -> None:
        """Begin anew, with locks that nobody holds."""
        self._lock = threading.Lock()
        self._found = {}


PROCESS_LEASES = Leases()
"""A token serves every batch of the process, whichever objects it made: as the gates, shared on purpose; never written anywhere."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PROCESS_LEASES.clear)  # a thread of the parent may have held a lock
