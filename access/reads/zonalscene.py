"""The values of one scene by zone: blocks of its files read once, cut by the zones in them, handed on when zones are complete."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rasterloom.access.pixels.gridded import grid_of_read, read_for
from rasterloom.access.pixels.values import BandFile, Pixels, WindowRead
from rasterloom.access.pixels.warp import nothing, warped
from rasterloom.access.reads.made import bands_of, mask_bands, outputs_of
from rasterloom.access.reads.making import Making, failed
from rasterloom.access.reads.zonemap import Block, Ground, ZoneMap, ground_of
from rasterloom.access.values import Failure
from rasterloom.errors import RasterloomError
from rasterloom.raster.decode import numpy_dtype
from rasterloom.raster.layers import Layer

_HELD = 1 << 24
"""Values above which complete zones are handed on: what is held beyond it are the zones that are not complete yet."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Counted:
    """Zones of one output of which all pixels are there."""

    name: str
    zones: NDArray[np.int64]
    """Ascending."""
    count: NDArray[np.int64]
    """Pixels of each zone that lie in the raster, valid or not."""
    owners: NDArray[np.int32]
    """Place in `zones` of each valid value, shape (n,)."""
    values: NDArray[Any]
    """Shape (n,), in the dtype of the output."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Tally:
    """What has come of one output."""

    name: str
    count: NDArray[np.int64]
    """Of all zones."""
    owners: list[NDArray[np.int32]] = field(default_factory=list[NDArray[np.int32]])
    values: list[NDArray[Any]] = field(default_factory=list[NDArray[Any]])
    held: int = 0

    def add(self, zones: NDArray[np.int32], values: NDArray[np.generic], valid: NDArray[np.bool_]) -> None:
        """Pixels of a block: their zones, what the output holds there."""
        self.count += np.bincount(zones, minlength=len(self.count))
        self.owners.append(zones[valid])
        self.values.append(values[valid])
        self.held += len(self.owners[-1])

    def taken(self, zones: NDArray[np.int64]) -> Counted:
        """What is held of some zones, which are complete."""
        owners = np.concatenate([*self.owners, np.empty(0, np.int32)])
        values = np.concatenate(self.values) if self.values else np.empty(0)
        place = np.full(len(self.count), -1, np.int32)
        place[zones] = np.arange(len(zones))
        places = place[owners]
        mine = places >= 0
        self.owners, self.values, self.held = [owners[~mine]], [values[~mine]], int((~mine).sum())
        return Counted(name=self.name, zones=zones, count=self.count[zones], owners=places[mine], values=values[mine])


@dataclass(slots=True, kw_only=True, eq=False)
class _Group:
    """The outputs that are computed on one ground."""

    ground: Ground
    tallies: list[_Tally]
    open: NDArray[np.int64]
    """Blocks of each zone that have not come."""
    bands: tuple[str, ...]
    """To read, those of the mask included."""
    handed: NDArray[np.bool_]
    """Zones that were handed on, and those that do not meet the raster."""

    def complete(self) -> NDArray[np.int64]:
        return np.flatnonzero((self.open == 0) & ~self.handed)


@dataclass(slots=True, kw_only=True, eq=False)
class _Work:
    """One block of a group, while its files are read."""

    group: _Group
    block: Block
    pixels: dict[str, Pixels] = field(default_factory=dict[str, Pixels])
    missing: int = 0


class SceneZones:
    """Reads one scene. `failures` are complete, and `broken` outputs known, when `counted` is at its end."""

    def __init__(self, making: Making, scene: str, zone_map: ZoneMap, names: Sequence[str]) -> None:
        self._making, self._scene, self._map, self._names = making, scene, zone_map, names
        self._files: dict[str, BandFile] = {}
        self.failures: dict[str, Failure] = {}
        """Of each band that could not be read."""
        self._work: dict[int, tuple[_Work, str, WindowRead]] = {}
        self._ready: list[_Work] = []
        masks = mask_bands(making.read)
        self._masks = masks
        self.asked = tuple(dict.fromkeys([*(band for name in names for band in bands_of(making.read, name)), *masks]))
        """Bands that are to be read."""

    def is_broken(self, name: str) -> bool:
        """Whether a band failed that an output, or the mask over it, is made of."""
        return any(band in self.failures for band in (*bands_of(self._making.read, name), *self._masks))

    def counted(self) -> Iterator[Counted]:
        """Each output of each zone that meets its raster, in parts."""
        self._open()
        groups = self._groups()
        for answer in self._making.engine.read(self._reads(groups)):
            work, band, read = self._work.pop(answer.index)
            work.missing -= 1
            if isinstance(answer.read, Pixels):
                self._place(work, band, read, answer.read)
            else:
                self._fail(band, answer.read)
            if work.missing == 0:
                self._ready.append(work)
            yield from self._finished()
        yield from self._finished()
        for group in groups:
            yield from (tally.taken(group.complete()) for tally in group.tallies)

    def _open(self) -> None:
        for band in self.asked:
            try:
                file = self._making.file(self._scene, band)
                ground_of(file)
                self._files[band] = file
            except RasterloomError as error:
                self._fail(band, error)

    def _fail(self, band: str, error: RasterloomError) -> None:
        href = self._files[band].href if band in self._files else ""
        self.failures.setdefault(band, failed(self._scene, band, error, href=href))

    def _groups(self) -> list[_Group]:
        """A band is computed on its own pixels, an expression on those of its finest band."""
        found: dict[Ground, list[str]] = {}
        for name in self._names:
            if not self.is_broken(name):
                grounds = [ground_of(self._files[band]) for band in bands_of(self._making.read, name)]
                found.setdefault(min(grounds, key=_size), []).append(name)
        return [self._group(ground, names) for ground, names in found.items()]

    def _group(self, ground: Ground, names: Sequence[str]) -> _Group:
        count = len(self._map.zones)
        open_blocks = np.zeros(count, np.int64)
        for block in self._map.blocks(ground):
            open_blocks[list(block.zones)] += 1
        bands = dict.fromkeys([*(band for name in names for band in bands_of(self._making.read, name)), *self._masks])
        tallies = [_Tally(name=name, count=np.zeros(count, np.int64)) for name in names]
        return _Group(ground=ground, tallies=tallies, open=open_blocks, bands=tuple(bands), handed=open_blocks == 0)

    def _reads(self, groups: Sequence[_Group]) -> Iterator[WindowRead]:
        number = 0
        for group in groups:
            for block in self._map.blocks(group.ground):
                work = _Work(group=group, block=block)
                planned = [(band, read) for band in group.bands if (read := self._read_of(work, band)) is not None]
                work.missing = len(planned)
                if not planned:
                    self._ready.append(work)
                for band, read in planned:
                    self._work[number] = work, band, read
                    number += 1
                    yield read

    def _read_of(self, work: _Work, band: str) -> WindowRead | None:
        """None where the file has nothing there, or failed."""
        file, ground, window = self._files[band], work.group.ground, work.block.window
        if ground_of(file) == ground:
            return WindowRead(file=file, window=window)
        try:
            read = read_for(file, ground.grid(window), "nearest")
        except RasterloomError as error:
            self._fail(band, error)
            return None
        if read is None:
            work.pixels[band] = nothing(numpy_dtype(file.header), ground.grid(window))
        return read

    def _place(self, work: _Work, band: str, read: WindowRead, pixels: Pixels) -> None:
        if ground_of(read.file) != work.group.ground:
            try:
                pixels = warped(pixels, grid_of_read(read), work.group.ground.grid(work.block.window), "nearest")
            except RasterloomError as error:
                self._fail(band, error)
                return
        work.pixels[band] = pixels

    def _finished(self) -> Iterator[Counted]:
        while self._ready:
            work = self._ready.pop()
            group = work.group
            self._tally(work)
            group.open[list(work.block.zones)] -= 1
            if sum(tally.held for tally in group.tallies) > _HELD:
                zones = group.complete()
                group.handed[zones] = True
                yield from (tally.taken(zones) for tally in group.tallies)

    def _tally(self, work: _Work) -> None:
        layers = {band: Layer(pixels.data, pixels.valid) for band, pixels in work.pixels.items()}
        headers = {band: self._files[band].header for band in layers}
        names = [tally.name for tally in work.group.tallies]
        made: Mapping[str, Layer] = outputs_of(self._making.read, names, layers, headers, layers)
        patch = self._map.patch(work.group.ground, work.block)
        for tally in work.group.tallies:
            if tally.name in made:
                layer = made[tally.name]
                tally.add(patch.zones, layer.data.ravel()[patch.pixels], layer.valid.ravel()[patch.pixels])


def _size(ground: Ground) -> float:
    """Area of a pixel in the units of its system."""
    a, b, _, d, e, _ = ground.affine
    return math.fabs(a * e - b * d)
