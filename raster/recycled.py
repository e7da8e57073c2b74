"""Memory that is used again: a page that the system gives anew costs more than decoding what goes into it."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

_KEPT = 16 << 20
"""Bytes that wait to be used again, by default."""
_STEP = 64 << 10
"""Sizes are multiples of it, so that they fit each other."""


class Recycled:
    """Arrays whose memory comes back when nobody looks at them, or at a view of them, any more. Thread-safe."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._most = kept
        self._lock = threading.RLock()  # an array may die anywhere, here too
        self._free: list[NDArray[np.uint8]] = []
        self._bytes = 0

    @property
    def kept(self) -> int:
        """Bytes that wait now."""
        return self._bytes

    def empty(self, count: int) -> NDArray[np.uint8]:
        """So many bytes with anything in them."""
        memory = self._taken(count)
        if memory is None:
            memory = np.empty(-(-count // _STEP) * _STEP, np.uint8)
        # numpy lets a view of a view hold the innermost array alone, unless something else lies between
        lent: NDArray[np.uint8] = np.frombuffer(memory.data, np.uint8, count)
        weakref.finalize(lent, self._back, memory).atexit = False
        return lent

    def _taken(self, count: int) -> NDArray[np.uint8] | None:
        """The one that came last of those that fit: its memory is the likeliest to be in a cache."""
        with self._lock:
            for place in range(len(self._free) - 1, -1, -1):
                if count <= self._free[place].nbytes <= max(2 * count, _STEP):
                    memory = self._free.pop(place)
                    self._bytes -= memory.nbytes
                    return memory
        return None

    def _back(self, memory: NDArray[Any]) -> None:
        with self._lock:
            if self._bytes + memory.nbytes <= self._most:
                self._free.append(memory)
                self._bytes += memory.nbytes
