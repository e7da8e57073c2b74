"""Tiles that were decoded and may be wanted again: of one tile the windows of several reads, of one pixel several bands."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from numpy.typing import NDArray

CACHED = 64 << 20
"""Bytes of decoded tiles that an engine keeps."""
_REMEMBERED = 4096
"""Files that were read last."""


class TileCache:
    """The tiles that were used last, bounded by their bytes. Thread-safe. Nobody writes into a tile."""

    def __init__(self, bound: int = CACHED) -> None:
        self._bound = bound
        self._lock = threading.Lock()
        self._tiles: OrderedDict[Hashable, NDArray[Any]] = OrderedDict()
        self._read: OrderedDict[Hashable, None] = OrderedDict()
        self.bytes = 0

    def is_read_again(self, file: Hashable) -> bool:
        """Whether this level of a file was read before. Only then are its tiles worth memory, which is not free to touch."""
        with self._lock:
            again = file in self._read
            self._read[file] = None
            self._read.move_to_end(file)
            if len(self._read) > _REMEMBERED:
                self._read.popitem(last=False)
            return again

    def get(self, key: Hashable, rows: int) -> NDArray[Any] | None:
        """The tile, if so many of its rows were decoded."""
        with self._lock:
            found = self._tiles.get(key)
            if found is None or len(found) < rows:
                return None
            self._tiles.move_to_end(key)
            return found

    def put(self, key: Hashable, pixels: NDArray[Any]) -> None:
        """A tile larger than the bound is not kept."""
        if pixels.nbytes > self._bound:
            return
        with self._lock:
            before = self._tiles.pop(key, None)
            self.bytes += pixels.nbytes - (0 if before is None else before.nbytes)
            self._tiles[key] = pixels
            while self.bytes > self._bound:
                _, oldest = self._tiles.popitem(last=False)
                self.bytes -= oldest.nbytes
