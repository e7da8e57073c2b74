"""What the reads of one level of one file need: each tile once, with all the places that its pixels go to."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rasterloom.access.pixels.values import Answer, BandFile, Pixels, WindowRead
from rasterloom.errors import RasterloomError, Unreadable
from rasterloom.raster.decode import Decode, decoder, numpy_dtype, paste
from rasterloom.raster.header import Header, Level
from rasterloom.raster.overviews import level_of, mask_of
from rasterloom.raster.tiles import Tile, Window, level_tiles, tiles_of, whole
from rasterloom.raster.validity import alpha_of, is_exact, mask_header, valid_of


class Into(Enum):
    """Which array of a read takes the pixels of a tile."""

    DATA = "data"
    VALID = "valid"
    """Where they are not 0."""


class Use(NamedTuple):
    """One read that wants one sample of a tile."""

    slot: Slot
    sample: int
    """0-based, of the samples that a tile is decoded to."""
    into: Into


class Kind(NamedTuple):
    """What blocks are equal in but their place."""

    image: str
    """`image` or `mask`."""
    plane: int
    """0-based sample of a planar-separate file, else -1."""


@dataclass(slots=True, eq=False)
class Block:
    """One tile, to be fetched and decoded once."""

    tile: Tile
    decode: Decode
    kind: Kind
    samples: int
    raw: int
    """Bytes that it is decoded to."""
    covered: bool = True
    """Whether every read takes all of its window."""
    uses: list[Use] = field(default_factory=list[Use])
    pixels: NDArray[Any] | None = None
    """Where it was decoded before."""

    @property
    def offset(self) -> int:
        return self.tile.offset

    @property
    def byte_count(self) -> int:
        return self.tile.byte_count

    @property
    def wanted_again(self) -> bool:
        """Whether somebody is expected to ask for it again: for what lies beside the window, or for another sample."""
        return not self.covered or len({use.sample for use in self.uses}) < self.samples

    @property
    def place(self) -> Hashable:
        """Unique in its level."""
        return self.kind, self.tile.row, self.tile.col

    @property
    def wanted(self) -> bool:
        """Whether a read is left that has not failed."""
        return any(use.slot.error is None for use in self.uses)


class Slot:
    """One read under way: its arrays, and the tiles that are still to come."""

    __slots__ = ("_data", "_left", "_lock", "_valid", "bytes", "error", "header", "index", "read")

    def __init__(self, index: int, read: WindowRead) -> None:
        self.index = index
        self.read = read
        self.header = read.file.header
        self.bytes = bytes_of(read)
        self.error: RasterloomError | None = None
        self._lock = threading.Lock()
        self._left = 0
        self._data: NDArray[Any] | None = None
        self._valid: NDArray[np.bool_] | None = None

    @property
    def needs_header(self) -> bool:
        """Whether the row lacks what this read needs of the header: a finer overview, the alpha's own plane, an exact nodata."""
        header = self.header
        return not level_of(header, self.read.level).stored or not is_exact(header) or _is_partial_alpha(header, self.read.file.band_index)

    def expect(self) -> None:
        """One more tile to come."""
        self._left += 1

    def begin(self, *, masked: bool) -> None:
        window = self.read.window
        shape = (window.height, window.width)
        self._data = np.empty(shape, numpy_dtype(self.header))
        self._valid = np.empty(shape, bool) if masked else None

    def take(self, tile: Tile, pixels: NDArray[Any], into: Into) -> None:
        """Tiles do not overlap, so that any thread may do this."""
        target = self._data if into is Into.DATA else self._valid
        assert target is not None
        paste(target, self.read.window, tile, pixels)

    def finished(self) -> bool:
        """Called once for each tile; True for the last one."""
        with self._lock:
            self._left -= 1
            return self._left == 0

    def answer(self) -> Answer:
        data, valid = self._data, self._valid
        if self.error is not None or data is None:
            return Answer(index=self.index, read=self.error or Unreadable("nothing was read", reason="window"))
        return Answer(index=self.index, read=Pixels(data=data, valid=valid_of(data, self.header.nodata) if valid is None else valid))


def bytes_of(read: WindowRead) -> int:
    """Bytes of its two arrays."""
    return read.window.width * read.window.height * (numpy_dtype(read.file.header).itemsize + 1)


def identity_of(file: BandFile) -> Hashable:
    """Equal for reads of the same bytes."""
    return file.href, file.header.etag, file.header.size


def plan(slots: Sequence[Slot]) -> list[Block]:
    """The tiles of slots that read the same level of the same file. The slots were checked, and have the header that they need."""
    blocks: dict[Hashable, Block] = {}
    for slot in slots:
        slot.begin(masked=_add(blocks, slot))
    return list(blocks.values())


def check(read: WindowRead) -> None:
    """Raises `Unreadable` (`overview`, `window`) for what no file of this header can give."""
    level = level_of(read.file.header, read.level)
    if read.window.empty or read.window.clipped(whole(level)) != read.window:
        message = f"{read.window} is not inside of the {level.width} x {level.height} pixels of level {read.level}"
        raise Unreadable(message, reason="window", remedy="clip the window to the level, and leave empty ones out")
    read.file.header.band_tiles(read.file.band_index, read.file.header.full)


def _add(blocks: dict[Hashable, Block], slot: Slot) -> bool:
    """Whether validity comes from tiles too."""
    header, read = slot.header, slot.read
    level, mask = level_of(header, read.level), mask_of(header, read.level)
    alpha = alpha_of(header, read.file.band_index) if mask is None and header.nodata is None else None
    _want(blocks, slot, level, read.file.band_index, Into.DATA)
    if mask is not None:
        _want_mask(blocks, slot, mask)
    elif alpha is not None:
        _want(blocks, slot, level, alpha, Into.VALID)
    return mask is not None or alpha is not None


def _want(blocks: dict[Hashable, Block], slot: Slot, level: Level, band: int, into: Into) -> None:
    header = slot.header
    planar = header.planar_configuration == 2
    kind = Kind("image", band if planar else -1)
    samples = 1 if planar else header.samples_per_pixel
    raw = level.tile_width * level.tile_height * samples * numpy_dtype(header).itemsize
    decode = decoder(header, level)
    for tile in tiles_of(header, band, level, slot.read.window):
        _use(blocks, Block(tile, decode, kind, samples, raw), Use(slot, 0 if planar else band, into))


def _want_mask(blocks: dict[Hashable, Block], slot: Slot, mask: Level) -> None:
    decode, raw = decoder(mask_header(slot.header), mask), mask.tile_width * mask.tile_height
    for tile in level_tiles(mask, (mask.tile_offsets, mask.tile_byte_counts), slot.read.window):
        _use(blocks, Block(tile, decode, Kind("mask", -1), 1, raw), Use(slot, 0, Into.VALID))


def _use(blocks: dict[Hashable, Block], made: Block, use: Use) -> None:
    block = blocks.setdefault(made.place, made)
    block.covered = block.covered and _covers(use.slot.read.window, block.tile.window)
    block.uses.append(use)
    use.slot.expect()


def _covers(window: Window, part: Window) -> bool:
    return part.clipped(window) == part


def _is_partial_alpha(header: Header, band: int) -> bool:
    """A row of a planar-separate file holds the tables of its band alone."""
    if header.planar_configuration != 2 or header.mask is not None or header.nodata is not None:
        return False
    return alpha_of(header, band) is not None and len(header.full.tile_offsets) == header.full.tiles_across * header.full.tiles_down


def portions(blocks: Sequence[Block], size: int) -> Iterator[list[Block]]:
    """Blocks of about `size` decoded bytes together: a small tile is not worth a thread's attention."""
    portion: list[Block] = []
    raw = 0
    for block in blocks:
        portion.append(block)
        raw += block.raw
        if raw >= size:
            yield portion
            portion, raw = [], 0
    if portion:
        yield portion
