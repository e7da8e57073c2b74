"""What an engine asked the network for."""

from __future__ import annotations

import threading

from rasterloom.access.values import Traffic


class Meter:
    """Counts requests, repeated ones too, and the bytes that came. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._traffic = Traffic()

    def add(self, traffic: Traffic) -> None:
        with self._lock:
            self._traffic += traffic

    @property
    def traffic(self) -> Traffic:
        """So far."""
        return self._traffic
