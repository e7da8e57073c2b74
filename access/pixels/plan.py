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
from rasterloom.raster.decode import Decode, decoder, numpy_dtype
from rasterloom.raster.header import Header, Level
from rasterloom.raster.overviews import level_of, mask_of
from rasterloom.raster.recycled import Recycled
from rasterloom.raster.tiles import Tile, Window, level_tiles, tiles_of, whole
from rasterloom.raster.validity import alpha_of, is_exact, mask_header


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
    """What blocks of a level are equal in but their place."""

    image: str
    """`image` or `mask`."""
    plane: int
    """0-based sample of a planar-separate file, else -1."""


@dataclass(slots=True, eq=False)
class Block:
    """One tile, to be fetched and decoded once."""

    tile: Tile
    decode: Decode
    place: Hashable
    """Unique in its level."""
    samples: int
    raw: int
    """Bytes that it is decoded to."""
    rows: int = 0
    """That anybody wants, from the top."""
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
    def wanted(self) -> bool:
        """Whether a read is left that has not failed."""
        return any(use.slot.error is None for use in self.uses)

    def include(self, window: Window) -> None:
        own = self.tile.window
        self.rows = max(self.rows, min(window.row + window.height, own.row + own.height) - own.row)
        self.covered = self.covered and own.inside(window)


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

    def begin(self, blocks: int, *, masked: bool) -> None:
        """Make room for the pixels of so many tiles. `masked`: some of them say what is valid."""
        shape = (self.read.window.height, self.read.window.width)
        self._left = blocks
        self._data = np.empty(shape, numpy_dtype(self.header))
        self._valid = np.empty(shape, bool) if masked else None

    def take(self, tile: Tile, pixels: NDArray[Any], into: Into) -> None:
        """`pixels` of one sample, from the first row of the tile. Tiles do not overlap, so that any thread may do this."""
        target = self._data if into is Into.DATA else self._valid
        assert target is not None
        window = self.read.window
        part = tile.window.clipped(window)
        top, left = part.row - tile.window.row, part.col - tile.window.col
        row, col = part.row - window.row, part.col - window.col
        target[row : row + part.height, col : col + part.width] = pixels[top : top + part.height, left : left + part.width]

    def finished(self) -> bool:
        """Called once for each tile; True for the last one."""
        with self._lock:
            self._left -= 1
            return self._left == 0

    def answer(self) -> Answer:
        if self.error is not None or self._data is None:
            return Answer(index=self.index, read=self.error or Unreadable("nothing was read", reason="window"))
        return Answer(index=self.index, read=Pixels(data=self._data, valid=self._valid, nodata=self.header.nodata))


def bytes_of(read: WindowRead) -> int:
    """Bytes of its two arrays."""
    return read.window.width * read.window.height * (numpy_dtype(read.file.header).itemsize + 1)


def identity_of(file: BandFile) -> Hashable:
    """Equal for reads of the same bytes."""
    return file.href, file.header.etag, file.header.size


def check(read: WindowRead) -> None:
    """Raises `Unreadable` (`overview`, `window`, `band-index`) for what no file of this header can give."""
    level = level_of(read.file.header, read.level)
    if read.window.empty or read.window.clipped(whole(level)) != read.window:
        message = f"{read.window} is not inside of the {level.width} x {level.height} pixels of level {read.level}"
        raise Unreadable(message, reason="window", remedy="clip the window to the level, and leave empty ones out")
    read.file.header.band_tiles(read.file.band_index, read.file.header.full)


def plan(slots: Sequence[Slot], memory: Recycled) -> list[Block]:
    """The tiles of slots that read the same level of the same file. The slots were checked, and have the header that they need.

    Tiles are decoded into `memory`.
    """
    planner = _Planner(memory)
    for slot in slots:
        planner.add(slot)
    return list(planner.blocks.values())


class _Planner:
    def __init__(self, memory: Recycled) -> None:
        self._memory = memory
        self.blocks: dict[Hashable, Block] = {}
        self._windows: dict[tuple[Kind, Window], list[Block]] = {}
        """What was planned before: bands of one file ask for the same windows."""

    def add(self, slot: Slot) -> None:
        header, read = slot.header, slot.read
        band, level, mask = read.file.band_index, level_of(header, read.level), mask_of(header, read.level)
        alpha = alpha_of(header, band) if mask is None and header.nodata is None else None
        blocks = self._use(slot, self._image(header, level, band, read.window), self._sample(header, band), Into.DATA)
        if mask is not None:
            blocks += self._use(slot, self._mask(header, mask, read.window), 0, Into.VALID)
        elif alpha is not None:
            blocks += self._use(slot, self._image(header, level, alpha, read.window), self._sample(header, alpha), Into.VALID)
        slot.begin(blocks, masked=mask is not None or alpha is not None)

    @staticmethod
    def _sample(header: Header, band: int) -> int:
        return 0 if header.planar_configuration == 2 else band

    @staticmethod
    def _use(slot: Slot, blocks: list[Block], sample: int, into: Into) -> int:
        use = Use(slot, sample, into)
        for block in blocks:
            block.uses.append(use)
        return len(blocks)

    def _image(self, header: Header, level: Level, band: int, window: Window) -> list[Block]:
        planar = header.planar_configuration == 2
        kind = Kind("image", band if planar else -1)
        found = self._windows.get((kind, window))
        if found is None:
            samples = 1 if planar else header.samples_per_pixel
            raw = level.tile_width * level.tile_height * samples * numpy_dtype(header).itemsize
            made = self._made(kind, tiles_of(header, band, level, window), decoder(header, level, self._memory), (samples, raw))
            found = self._windows[kind, window] = [self._shared(block, window) for block in made]
        return found

    def _mask(self, header: Header, mask: Level, window: Window) -> list[Block]:
        kind = Kind("mask", -1)
        found = self._windows.get((kind, window))
        if found is None:
            tiles = level_tiles(mask, (mask.tile_offsets, mask.tile_byte_counts), window)
            made = self._made(kind, tiles, decoder(mask_header(header), mask, self._memory), (1, mask.tile_width * mask.tile_height))
            found = self._windows[kind, window] = [self._shared(block, window) for block in made]
        return found

    @staticmethod
    def _made(kind: Kind, tiles: list[Tile], decode: Decode, size: tuple[int, int]) -> Iterator[Block]:
        return (Block(tile, decode, (kind, tile.row, tile.col), *size) for tile in tiles)

    def _shared(self, made: Block, window: Window) -> Block:
        block = self.blocks.setdefault(made.place, made)
        block.include(window)
        return block


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
