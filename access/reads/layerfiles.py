"""Layers of one scene on the grid of a job, as one file of compressed squares: what a unit keeps of it, read back piece by piece."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from rasterloom.errors import Unavailable
from rasterloom.raster.layers import Layer
from rasterloom.raster.tiles import Window

TILE = 256
"""Pixels of the edge of a square: as many scenes as there are, one square of each is held at once."""
_INDEX, _LEVEL = "layers.json", 3


class LayerWriter:
    """Writes a file: an archive of `<number of the layer>/<row>.<col>`, whose names and dtypes stand in `layers.json`, its last member.

    A square is the bytes of its pixels, the n-th bytes of all of them together, and of its validity, compressed with zstd. One
    without a valid pixel is not there. The same layers are the same bytes.
    """

    def __init__(self, path: Path) -> None:
        self._archive = ZipFile(path, "w", ZIP_STORED)
        self._dtypes: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self._archive.writestr(ZipInfo(_INDEX), json.dumps(self._dtypes))
        self._archive.close()

    def write(self, window: Window, layers: Mapping[str, Layer]) -> None:
        """`window` of the grid begins at a multiple of `TILE`; no two overlap."""
        for name, layer in layers.items():
            dtype = layer.data.dtype.newbyteorder("=").str
            if self._dtypes.setdefault(name, dtype) != dtype:
                raise ValueError(f"{name} is {dtype} and was {self._dtypes[name]}")
            number = list(self._dtypes).index(name)
            for row in range(0, window.height, TILE):
                for col in range(0, window.width, TILE):
                    part = Layer(layer.data[row : row + TILE, col : col + TILE], layer.valid[row : row + TILE, col : col + TILE])
                    if part.valid.any():
                        place = f"{number}/{(window.row + row) // TILE}.{(window.col + col) // TILE}"
                        self._archive.writestr(ZipInfo(place), _packed(part))


class LayerFile:
    """Reads one. Several threads may; between two squares nothing is held open, so that a thousand scenes need no thousand files."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with ZipFile(path) as archive:
                self._dtypes: dict[str, str] = json.loads(archive.read(_INDEX))
                self._members = {member.filename: member for member in archive.infolist()}
        except (BadZipFile, KeyError) as error:
            raise Unavailable(f"{path} is damaged: {error}", remedy="run again with --force") from error
        self._numbers = {name: number for number, name in enumerate(self._dtypes)}

    @property
    def is_empty(self) -> bool:
        """Whether the scene has no valid pixel on the grid."""
        return len(self._members) == 1

    def __contains__(self, name: str) -> bool:
        return name in self._dtypes

    def tile(self, name: str, row: int, col: int, window: Window) -> Layer | None:
        """Square (row, col) of the grid, of the size of `window`, its place in pixels; None where the scene has nothing there."""
        member = self._members.get(f"{self._numbers.get(name)}/{row}.{col}")
        if member is None:
            return None
        return _unpacked(self._bytes(member), np.dtype(self._dtypes[name]), (window.height, window.width))

    def _bytes(self, member: ZipInfo) -> bytes:
        with self._path.open("rb") as file:
            file.seek(member.header_offset)
            # APPNOTE 4.3.7: the lengths of the name and of the extra field are the last words of the 30 bytes before them.
            name, extra = struct.unpack("<HH", file.read(30)[26:])
            file.seek(name + extra, os.SEEK_CUR)
            found = file.read(member.file_size)
        if zlib.crc32(found) != member.CRC:
            raise Unavailable(f"{self._path} is damaged at {member.filename}", remedy="run again with --force")
        return found


def tiles_of(*, width: int, height: int) -> Iterator[tuple[int, int, Window]]:
    """Row, column and place in pixels of the squares of a grid, row by row."""
    for row in range(0, height, TILE):
        for col in range(0, width, TILE):
            window = Window(col=col, row=row, width=min(TILE, width - col), height=min(TILE, height - row))
            yield row // TILE, col // TILE, window


def _packed(layer: Layer) -> bytes:
    data = np.where(layer.valid, layer.data, np.zeros((), layer.data.dtype)).astype(layer.data.dtype.newbyteorder("="))
    planes = data.reshape(-1).view(np.uint8).reshape(-1, data.itemsize).T
    found: Any = imagecodecs.zstd_encode(np.ascontiguousarray(planes).tobytes() + np.packbits(layer.valid).tobytes(), level=_LEVEL)
    return bytes(found)


def _unpacked(packed: bytes, dtype: np.dtype[Any], shape: tuple[int, int]) -> Layer:
    count = shape[0] * shape[1]
    found: Any = imagecodecs.zstd_decode(packed)
    plain = np.frombuffer(found, np.uint8)
    planes: NDArray[np.uint8] = plain[: count * dtype.itemsize].reshape(dtype.itemsize, count)
    data = np.ascontiguousarray(planes.T).reshape(-1).view(dtype).reshape(shape)
    valid = np.unpackbits(plain[count * dtype.itemsize :], count=count).view(bool).reshape(shape)
    return Layer(data, valid)
