"""What an engine asked the network for, and what it decoded."""

from __future__ import annotations

import threading

from rasterloom.access.values import Traffic


class Meter:
    """Counts requests, repeated ones too, the bytes that came, and the tiles that were decoded from them. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._traffic = Traffic()
        self._tiles = 0

    def add(self, traffic: Traffic) -> None:
        with self._lock:
            self._traffic += traffic

    @property
    def traffic(self) -> Traffic:
        """So far."""
        return self._traffic

    def decoded(self, tiles: int) -> None:
        with self._lock:
            self._tiles += tiles

    @property
    def tiles(self) -> int:
        """That were decoded so far: one that is wanted by many reads, or kept from an earlier one, counts once."""
        return self._tiles
