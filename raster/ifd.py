"""Image file directories of a TIFF or BigTIFF: tags and their values, every count checked before a byte is read.

Rules are those of TIFF 6.0 and of the BigTIFF design; limits are ours. Nothing here knows what a tag means.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from rasterloom.errors import Unreadable
from rasterloom.raster import fields
from rasterloom.raster.buffer import MAX_REQUEST, Buffer, NeedMore
from rasterloom.raster.sniff import not_a_tiff

MAX_IFDS = 64
MAX_ENTRIES = 1024
SPREAD = 256 << 10
"""Holes that lie further apart than this are asked for one after the other: one range over both could be the whole file."""
GUESS = 16 << 10
"""Bytes fetched of a directory of which only the place is known."""


class Tags(dict[int, Any]):
    """Tag -> int, tuple of ints or floats, bytes (opaque tags) or array (tables), as `fields.RULES` says."""

    def __missing__(self, tag: int) -> Any:
        raise Unreadable(f"tag {tag} ({fields.RULES[tag].name}) is missing", reason="missing-tag")


@dataclass(frozen=True, slots=True)
class Form:
    """How the numbers of one file are laid out."""

    byte_order: str
    bigtiff: bool
    count: struct.Struct
    entry: struct.Struct
    """Tag and field type as one number (`key`), count, and the value or its place as an unsigned number."""
    pointer: struct.Struct
    dtypes: dict[int, np.dtype[Any]]
    """Field type -> type of an array of it."""
    inline: dict[int, tuple[int, int, int]]
    """Key of a single number that stands in its entry -> tag, and the shift and mask that take it out of the entry's value."""

    def tag_and_type(self, key: int) -> tuple[int, int]:
        return (key & 0xFFFF, key >> 16) if self.byte_order == "<" else (key >> 16, key & 0xFFFF)


def _form(byte_order: str, *, bigtiff: bool) -> Form:
    width = 8 if bigtiff else 4
    bits = {kind: 8 * fields.TYPE_SIZES[kind] for kind in (1, 3, 4, 13, 16, 18) if fields.TYPE_SIZES[kind] <= width}
    little = byte_order == "<"
    inline = {
        (kind << 16 | tag if little else tag << 16 | kind): (tag, 0 if little else 8 * width - n, (1 << n) - 1)
        for tag in fields.NUMBERS
        for kind, n in bits.items()
        if kind in fields.RULES[tag].types
    }
    count, entry, pointer = (struct.Struct(byte_order + code) for code in (("Q", "IQQ", "Q") if bigtiff else ("H", "III", "I")))
    dtypes = {kind: np.dtype(byte_order + code) for kind, code in fields.FORMATS.items()}
    return Form(byte_order, bigtiff, count, entry, pointer, dtypes, inline)


_FORMS = {(order, version): _form(order, bigtiff=version == 43) for order in "<>" for version in (42, 43)}


@dataclass(slots=True)
class Directories:
    """All directories of a file, the main chain first, then the SubIFDs of the first image."""

    form: Form
    ifds: list[Tags]
    end: int
    """First byte after the last one that was read."""


def form_of(byte_order: str, *, bigtiff: bool) -> Form:
    return _FORMS[byte_order, 43 if bigtiff else 42]


def read_directories(buffer: Buffer) -> Directories:
    """All directories of `buffer`. Raises `NeedMore` naming the known holes, or `Unreadable`."""
    form, first = _read_start(buffer)
    return _Walk(buffer, form).run(first)


def _read_start(buffer: Buffer) -> tuple[Form, int]:
    start = buffer.first
    if len(start) < 16 and (buffer.size is None or buffer.size > len(start)):
        raise NeedMore(0, GUESS if buffer.size is None else min(GUESS, buffer.size))
    order = {b"II": "<", b"MM": ">"}.get(start[:2])
    if order is None or len(start) < 8:
        raise not_a_tiff(start)
    form = _FORMS.get((order, int.from_bytes(start[2:4], "little" if order == "<" else "big")))
    if form is None:
        raise not_a_tiff(start)
    if form.bigtiff and start[4:8] != struct.pack(order + "HH", 8, 0):
        raise Unreadable(f"BigTIFF offset size {start[4:8]!r} is not 8", reason="not-a-tiff")
    place = buffer.find(8 if form.bigtiff else 4, form.pointer.size)
    if place is None:
        raise not_a_tiff(start)
    return form, form.pointer.unpack_from(*place)[0]


class _Walk:
    """One pass over the directories; remembers holes so that one request can fill them all."""

    def __init__(self, buffer: Buffer, form: Form) -> None:
        self.buffer = buffer
        self.form = form
        self.holes: list[tuple[int, int]] = []
        self.tables = 0
        """Bytes of the values of the first directory that stand outside it."""
        self.end = 16

    def run(self, first: int) -> Directories:
        ifds: list[Tags] = []
        seen: set[int] = set()
        self._chain(first, ifds, seen)
        if not ifds and not self.holes:
            raise Unreadable("the file has no image directory", reason="no-image")
        for place in ifds[0].get(fields.SUB_IFDS, ()) if ifds else ():
            self._chain(place, ifds, seen)
        if self.holes:
            raise self._need_more()
        return Directories(self.form, ifds, self.end)

    def _chain(self, place: int, ifds: list[Tags], seen: set[int]) -> None:
        while place:
            if place in seen:
                raise Unreadable(f"the directory at byte {place} is reached twice", reason="ifd-cycle")
            if len(seen) >= MAX_IFDS:
                raise Unreadable(f"the file has more than {MAX_IFDS} directories", reason="too-many-ifds")
            seen.add(place)
            found = self._directory(place, first=not ifds)
            if found is None:
                return
            tags, place = found
            ifds.append(tags)

    def _directory(self, place: int, *, first: bool) -> tuple[Tags, int] | None:
        """Tags of the directory at byte `place` and the place of the next; None where it lies in a hole."""
        form = self.form
        part = self.buffer.find(place, form.count.size)
        if part is None:
            self._hole(place, self._guess(place))
            return None
        entries: int = form.count.unpack_from(*part)[0]
        if not 1 <= entries <= MAX_ENTRIES:
            raise Unreadable(f"the directory at byte {place} has {entries} entries, not 1..{MAX_ENTRIES}", reason="entry-count")
        start = place + form.count.size
        length = entries * form.entry.size
        part = self.buffer.find(start, length + form.pointer.size)
        if part is None:
            self._hole(place, max(start + length + form.pointer.size, self._guess(place)))
            return None
        self.end = max(self.end, start + length + form.pointer.size)
        data, at = part
        return self._tags(data, at, at + length, first=first), form.pointer.unpack_from(data, at + length)[0]

    def _tags(self, data: bytes, at: int, stop: int, *, first: bool) -> Tags:
        tags = Tags()
        rules, inline = fields.RULES if first else fields.LATER_RULES, self.form.inline
        for key, count, value in self.form.entry.iter_unpack(memoryview(data)[at:stop]):
            number = inline.get(key) if count == 1 else None
            if number is not None:
                tag, shift, mask = number
                if tag in tags:
                    raise _duplicate(tag)
                tags[tag] = value >> shift & mask
            else:
                tag, kind = self.form.tag_and_type(key)
                if tag in tags:
                    raise _duplicate(tag)
                if tag in rules and kind in fields.TYPE_SIZES:
                    self._long_value(tags, (tag, kind, count, value), first=first)
        return tags

    def _long_value(self, tags: Tags, entry: tuple[int, int, int, int], *, first: bool) -> None:
        tag, kind, count, value = entry
        rule = fields.RULES[tag]
        if kind not in rule.types or not 0 < count <= rule.max_count:
            raise _wrong_field(tag, rule, kind, count)
        size = count * fields.TYPE_SIZES[kind]
        if size <= self.form.pointer.size:
            data, at = self.form.pointer.pack(value), 0
        else:
            place = self.buffer.find(value, size)
            self.tables += size if first else 0
            self.end = max(self.end, value + size)
            if place is None:
                self._hole(value, value + size)
                return
            data, at = place
        if rule.opaque:
            tags[tag] = data[at : at + size]
        elif rule.max_count == 1:
            tags[tag] = int.from_bytes(data[at : at + size], "little" if self.form.byte_order == "<" else "big")
        else:
            array = np.frombuffer(data, self.form.dtypes[kind], count, at)
            tags[tag] = array if rule.table else tuple(array.tolist())

    def _hole(self, start: int, end: int) -> None:
        if end - start > MAX_REQUEST:
            raise Unreadable(f"a table of {end - start} bytes is larger than {MAX_REQUEST}", reason="too-large")
        self.holes.append((self.buffer.missing_from(start), end))

    def _guess(self, place: int) -> int:
        """Where a directory and its tables may end. One at the end of the file is taken whole."""
        size = self.buffer.size
        if size is None or size - place > SPREAD:
            return min(place + GUESS, size or place + GUESS)
        return size

    def _need_more(self) -> NeedMore:
        """The holes that lie close together, with room for the pyramid: its tables are 1/3 of the base's, and stand behind them.

        An interleaved mask (GDAL's COG driver says so in its ghost area) doubles both.
        """
        holes = sorted(self.holes)
        start, end = holes[0]
        for low, high in holes[1:]:
            if low - end > SPREAD or high - start > MAX_REQUEST:
                break
            end = max(end, high)
        masked = b"MASK_INTERLEAVED_WITH_IMAGERY=YES" in self.buffer.first[:512]
        end += (5 * self.tables if masked else self.tables) // 3 + 4096
        end = max(end, self.buffer.missing_from(start) + 1)
        return NeedMore(start, end if self.buffer.size is None else min(end, self.buffer.size))


def _duplicate(tag: int) -> Unreadable:
    return Unreadable(f"tag {tag} ({fields.RULES[tag].name}) stands twice in one directory", reason="duplicate-tag")


def _wrong_field(tag: int, rule: fields.Rule, kind: int, count: int) -> Unreadable:
    if kind not in rule.types:
        return Unreadable(f"tag {tag} ({rule.name}) has field type {kind}, not one of {sorted(rule.types)}", reason="field-type")
    return Unreadable(f"tag {tag} ({rule.name}) has {count} values, not 1..{rule.max_count}", reason="value-count")
