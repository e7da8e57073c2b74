"""The same header through tifffile: slower by ten times, and written by others, so that each can be checked against the other.

tifffile drops the tags of a truncated file with nothing but a log line. It is therefore fed by a file that raises on holes.
"""

from __future__ import annotations

import io
import struct
from typing import Any, BinaryIO, cast

import numpy as np
import tifffile

from rasterloom.errors import Unreadable
from rasterloom.raster import fields
from rasterloom.raster.buffer import Buffer, NeedMore
from rasterloom.raster.header import Header
from rasterloom.raster.ifd import GUESS, MAX_IFDS, Directories, Tags, form_of
from rasterloom.raster.tiff import header_of


class SparseFile(io.RawIOBase):
    """A `Buffer` as a file: reading a hole raises `NeedMore`, reading beyond the end of the file `Unreadable` (`truncated`)."""

    def __init__(self, buffer: Buffer) -> None:
        super().__init__()
        self._buffer = buffer
        self._at = 0
        self.end = 0
        """First byte after the last one that was read."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            offset += self._length()
        self._at = offset + self._at if whence == io.SEEK_CUR else offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        count = self._length() - self._at if size < 0 else size
        part = self._buffer.find(self._at, count)
        if part is None:
            end = max(self._at + count, min(self._at + GUESS, self._length()))
            raise NeedMore(self._buffer.missing_from(self._at), end)
        self._at += count
        self.end = max(self.end, self._at)
        return part[0][part[1] : part[1] + count]

    def readinto(self, buffer: Any) -> int:
        target = memoryview(buffer).cast("B")
        target[:] = self.read(len(target))
        return len(target)

    def _length(self) -> int:
        if self._buffer.size is None:
            raise Unreadable("the length of the file is not known", reason="truncated")
        return self._buffer.size


def read_header_with_tifffile(file: BinaryIO, size: int | None = None) -> Header:
    """The header of `file`, a TIFF of `size` bytes. Raises what `file` raises (`NeedMore`), or `Unreadable`."""
    try:
        with tifffile.TiffFile(cast(Any, file), _multifile=False) as tiff:
            pages = _pages(tiff)
            form = form_of(tiff.byteorder, bigtiff=tiff.is_bigtiff)
            ifds = [_tags(page, first=page is pages[0], byte_order=form.byte_order) for page in pages]
    except (tifffile.TiffFileError, struct.error, ValueError, IndexError, KeyError, TypeError) as error:
        raise Unreadable(f"tifffile cannot read the header: {str(error)[:200]}", reason="not-a-tiff") from error
    return header_of(Directories(form, ifds, getattr(file, "end", 0)), size)


def _pages(tiff: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    pages: list[tifffile.TiffPage] = []
    for at in range(MAX_IFDS + 1):
        try:
            pages.append(cast(tifffile.TiffPage, tiff.pages[at]))
        except IndexError:
            break
    if len(pages) > MAX_IFDS:
        raise Unreadable(f"the file has more than {MAX_IFDS} directories", reason="too-many-ifds")
    for child in (pages[0].pages or ()) if pages and fields.SUB_IFDS in pages[0].tags else ():
        pages.append(cast(tifffile.TiffPage, child))
    return pages


def _tags(page: tifffile.TiffPage, *, first: bool, byte_order: str) -> Tags:
    tags = Tags()
    for code, rule in (fields.RULES if first else fields.LATER_RULES).items():
        tag = page.tags.get(code)
        if tag is not None and tag.count:
            tags[code] = _value(tag, rule, byte_order)
    return tags


def _value(tag: tifffile.TiffTag, rule: fields.Rule, byte_order: str) -> Any:
    value: Any = tag.value
    if rule.opaque:
        return _bytes(value, tag, byte_order)
    if isinstance(value, np.ndarray):
        value = tuple(value.tolist())
    values = tuple(float(item) if isinstance(item, float) else int(item) for item in (value if isinstance(value, tuple) else (value,)))
    if rule.table:
        return np.array(values, np.uint64)
    return values[0] if tag.code in fields.NUMBERS and len(values) == 1 else values


def _bytes(value: Any, tag: tifffile.TiffTag, byte_order: str) -> bytes:
    """The bytes of an opaque tag, as they stand in the file but for what tifffile strips off the end of a text."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").ljust(tag.count, b"\0")
    code = fields.FORMATS[int(tag.dtype)].replace("f8", "d").replace("u2", "H").replace("u1", "B")
    values = value if isinstance(value, tuple) else (value,)
    return struct.pack(f"{byte_order}{len(values)}{code}", *values)
