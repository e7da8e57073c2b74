"""Image file directories of a TIFF or BigTIFF: tags and their values, every count checked before a byte is read.

Rules are those of TIFF 6.0 and of the BigTIFF design; limits are ours. Nothing here knows what a tag means.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

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


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """How the numbers of one file are laid out: one of four."""

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


@dataclass(frozen=True, slots=True)
class Value:
    """One value that stands outside of its directory, and how it is spelled there."""

    tag: int
    start: int
    end: int
    count: int
    dtype: np.dtype[Any] | None
    """None: opaque bytes."""
    table: bool

    def taken(self, data: bytes, at: int) -> Any:
        """The value that begins at `at`."""
        if self.dtype is None:
            return data[at : at + self.end - self.start]
        array = np.frombuffer(data, self.dtype, self.count, at)
        if self.table:
            return array
        values = array.tolist()
        return values[0] if fields.RULES[self.tag].max_count == 1 else tuple(values)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the entries of a directory say: values that stand among them, and where the others are."""

    here: Tags
    elsewhere: tuple[Value, ...]
    inline: tuple[Value, ...]
    """Tables that are so short that they stand among the entries: `start` and `end` count from the first entry. Also in `here`."""


@lru_cache(maxsize=512)
def _recipe(form: Form, which: Literal["first", "later"], entries: bytes) -> Recipe:
    """Remembered: the files of a collection are laid out alike, and differ in values that stand outside of the directory.

    Raises `Unreadable` where a tag stands twice, or has a type or a count that it cannot have.
    """
    rules = fields.RULES if which == "first" else fields.LATER_RULES
    here, elsewhere, inline = Tags(), dict[int, Value](), list[Value]()
    for at, (key, count, value) in enumerate(form.entry.iter_unpack(entries), 1):
        number = form.inline.get(key) if count == 1 else None
        tag, kind = form.tag_and_type(key)
        if tag in here or tag in elsewhere:
            raise _duplicate(tag)
        if number is not None:
            here[tag] = value >> number[1] & number[2]
        elif tag in rules and kind in fields.TYPE_SIZES:
            found = _value(form, tag, kind, count, value)
            if found.end - found.start <= form.pointer.size:
                here[tag] = found.taken(form.pointer.pack(value), 0)
                if found.table:
                    start = at * form.entry.size - form.pointer.size
                    inline.append(replace(found, start=start, end=start + found.end - found.start))
            else:
                elsewhere[tag] = found
    return Recipe(here, tuple(elsewhere.values()), tuple(inline))


def _value(form: Form, tag: int, kind: int, count: int, start: int) -> Value:
    rule = fields.RULES[tag]
    if kind not in rule.types or not 0 < count <= rule.max_count:
        raise _wrong_field(tag, rule, kind, count)
    dtype = None if rule.opaque else form.dtypes[kind]
    return Value(tag, start, start + count * fields.TYPE_SIZES[kind], count, dtype, rule.table)


@dataclass(slots=True)
class Directories:
    """All directories of a file, the main chain first, then the SubIFDs of the first image."""

    form: Form
    ifds: list[Tags]
    end: int
    """First byte after the last one that was read."""
    walked: list[tuple[int, int, Recipe]] = field(default_factory=list[tuple[int, int, Recipe]])
    """Of each directory where its entries begin and end, and what they say; empty where tifffile read them."""


def form_of(byte_order: str, *, bigtiff: bool) -> Form:
    return _FORMS[byte_order, 43 if bigtiff else 42]


def read_directories(buffer: Buffer) -> Directories:
    """All directories of `buffer`. Raises `NeedMore` naming the known holes, or `Unreadable`."""
    form, first = start_of(buffer)
    return _Walk(buffer, form).run(first)


def start_of(buffer: Buffer) -> tuple[Form, int]:
    """How the file is laid out, and where its first directory is. Raises `NeedMore`, or `Unreadable` where it is no TIFF."""
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
        self.walked: list[tuple[int, int, Recipe]] = []

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
        return Directories(self.form, ifds, self.end, self.walked)

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
        recipe = _recipe(self.form, "first" if first else "later", data[at:stop])
        tags = Tags(recipe.here)
        head = self.buffer.first
        self.walked.append((at, stop, recipe))
        for value in recipe.elsewhere:
            start, end = value.start, value.end
            self.tables += end - start if first else 0
            self.end = max(self.end, end)
            place = (head, start) if end <= len(head) else self.buffer.find(start, end - start)
            if place is None:
                self._hole(start, end)
            else:
                tags[value.tag] = value.taken(*place)
        return tags

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
