"""The bytes of a file that were fetched so far, and the exception that asks for more of them."""

from __future__ import annotations

from rasterloom.errors import Unreadable

MAX_REQUEST = 64 << 20
"""Bytes of one follow-up range: four million tiles need 48 MiB of tables."""


class NeedMore(Exception):
    """The header goes on in bytes that are not here: fetch `start <= byte < end`, `Buffer.add` them, and read again."""

    def __init__(self, start: int, end: int) -> None:
        super().__init__(f"bytes {start}..{end} are needed")
        self.start = start
        self.end = end


class Buffer:
    """Sparse bytes of one file: `first` begins at byte 0; `size` is the length of the whole file in bytes, where it is known."""

    __slots__ = ("parts", "size")

    def __init__(self, first: bytes, size: int | None) -> None:
        self.parts: list[tuple[int, bytes]] = [(0, first)]
        self.size = size

    @property
    def first(self) -> bytes:
        return self.parts[0][1]

    def add(self, start: int, data: bytes) -> None:
        """Take in what a range request gave: `data` stands at byte `start` of the file."""
        for at, (first, part) in enumerate(self.parts):
            if first <= start <= first + len(part):
                if start + len(data) > first + len(part):
                    self.parts[at] = (first, part[: start - first] + data)
                return
        self.parts.append((start, data))

    def find(self, start: int, count: int) -> tuple[bytes, int] | None:
        """The part that holds `count` bytes from byte `start`, and where in that part they begin; None is a hole.

        Raises `Unreadable` (`truncated`) where the file is known to be shorter.
        """
        end = start + count
        for first, part in self.parts:
            if first <= start and end <= first + len(part):
                return part, start - first
        if self.size is not None and end > self.size:
            raise Unreadable(
                f"bytes {start}..{end} lie beyond the file's {self.size} bytes", reason="truncated", remedy="fetch the file again"
            )
        return None

    def missing_from(self, start: int) -> int:
        """First byte at or after `start` that is not here."""
        for first, part in self.parts:
            if first <= start < first + len(part):
                return first + len(part)
        return start
