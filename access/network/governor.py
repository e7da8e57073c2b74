"""How many requests a host gets at once: few until it has answered, fewer when it is busy, none while it is down.

Additive increase, multiplicative decrease, as TCP and the adaptive mode of the AWS SDKs do it. A host that is well is not counted at
all: `Turns.strained` is false then, and a request costs one look at it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from rasterloom.errors import Unavailable

FIRST_WINDOW = 16
"""Requests at once for a host that has not answered yet; each answer adds one, as in TCP's slow start."""
WIDE = 100
"""A window this wide is none, unless the busy host was asked by more at once."""
SHRINK = 0.7
GROWTH = 4.0
"""Requests more after a whole window of answers: with 1 % of 503 some 30 go at once, with 15 % some 8."""
SMALLEST = 0.02
"""A window below one is one request, with a gap of `GAP` / window after it: 5 s at the smallest."""
GAP = 0.1
COOL_DOWN = 5.0
"""Seconds for which a host that is down is not asked; then one request at a time finds out."""
_LOOK_UP = 0.25
"""Seconds after which a thread that waits looks whether its batch still wants it."""


class Ticket(NamedTuple):
    """The right to one request."""

    epoch: int
    """How often the host was slowed down before: a burst of refusals counts once."""
    counted: bool
    probe: bool = False


class Turns:
    """Who may ask one host now. Thread-safe."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.strained = True
        """False: `enter` and `succeeded` have nothing to do."""
        self._turn = threading.Condition()
        self._window: float | None = FIRST_WINDOW
        self._wide = float(WIDE)
        self._starting = True
        self._limit: int | None = None
        self._under_way = 0
        self._waiting = 0
        """Threads in `enter`."""
        self._epoch = 0
        self._free = Ticket(0, counted=False)
        self._not_before = 0.0
        self._broken: str | None = None
        self._broken_until = 0.0
        self._probing = False

    @property
    def window(self) -> float:
        """Requests that may go at once; infinite for a host that is well. Below one: with gaps."""
        most = float("inf") if self._limit is None else float(self._limit)
        return most if self._window is None else min(most, self._window)

    @property
    def down(self) -> bool:
        return self._broken is not None

    @property
    def free(self) -> Ticket | None:
        """The turn of who need not wait for one; None where all must ask for it."""
        return None if self.strained else self._free

    def keep_to(self, limit: int) -> None:
        """No more than `limit` requests at once, from now on."""
        with self._turn:
            self._limit, self.strained = limit, True

    def enter(self, sleep: Callable[[float], object]) -> Ticket:
        """Wait for the turn. Raises `Unavailable` while the host is down, and what `sleep(0)` raises where the work was called off."""
        if not self.strained:
            return self._free
        with self._turn:
            self._waiting += 1
        try:
            return self._waited(sleep)
        finally:
            with self._turn:
                self._waiting -= 1

    def _waited(self, sleep: Callable[[float], object]) -> Ticket:
        while True:
            with self._turn:
                ticket = self._ticket(time.monotonic())
                if ticket is not None:
                    return ticket
            sleep(0.0)

    def enter_now(self) -> Ticket | None:
        """The turn, where there is one and nobody waits for it."""
        if not self.strained:
            return self._free
        with self._turn:
            crowded = self._waiting or self._under_way + 1 > max(1.0, self.window)
            if crowded or self.window < 1 or self._broken is not None:
                return None
            self._under_way += 1
            return Ticket(self._epoch, counted=True)

    def leave(self, ticket: Ticket) -> None:
        if not ticket.counted:
            return
        with self._turn:
            self._under_way -= 1
            if ticket.probe:
                self._probing = False
            self._turn.notify()

    def _ticket(self, now: float) -> Ticket | None:
        """A turn, or None after a while in which there was none."""
        probe = self._broken is not None
        if probe and now < self._broken_until:
            raise _down(self.host, self._broken or "")
        taken = self._probing if probe else self._under_way + 1 > max(1.0, self.window)
        if not taken and now >= self._not_before:
            self._under_way += 1
            self._probing = probe
            if self.window < 1:
                self._not_before = now + GAP / self.window
            return Ticket(self._epoch, counted=True, probe=probe)
        self._turn.wait(_LOOK_UP if taken else min(_LOOK_UP, self._not_before - now))
        return None

    def succeeded(self) -> None:
        """The host answered: a little more may go at once."""
        if not self.strained:
            return
        with self._turn:
            if self._broken is not None:
                self._broken, self._probing = None, False
                self._turn.notify_all()
            if self._window is not None:
                self._window += 1.0 if self._starting else GROWTH / self._window if self._window >= 1 else self._window / 20
                if self._window >= self._wide:
                    self._window, self._starting, self._not_before = None, False, 0.0
            self.strained = self._window is not None or self._limit is not None
            if self._window is None:
                self._turn.notify_all()  # whoever still waits for a turn may go
            else:
                self._turn.notify()

    def throttled(self, ticket: Ticket, most: int) -> None:
        """The host is too busy. `most`: what is asked at once where nothing holds it back."""
        with self._turn:
            if ticket.epoch != self._epoch:
                return
            self._epoch += 1
            self._free = Ticket(self._epoch, counted=False)
            self._wide = float(most) if self._window is None else self._wide
            self._window = max(SMALLEST, min(self.window, float(most)) * SHRINK)
            self._starting = False
            self.strained = True

    def break_off(self, why: str) -> Unavailable:
        """The host is down: nobody asks it for a while. Returns what to raise."""
        with self._turn:
            self._broken, self._broken_until, self._probing = why, time.monotonic() + COOL_DOWN, False
            self.strained = True
            self._turn.notify_all()
        return _down(self.host, why)


def _down(host: str, why: str) -> Unavailable:
    return Unavailable(f"{host} {why}", remedy="try again later; what was read so far is kept")
