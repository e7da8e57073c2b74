"""Bytes of a tile into pixels, by the tags that were stored: tifffile's own decoder, rebuilt from a header of one tile.

Every codec, predictor and bit depth that tifffile and imagecodecs know works, both byte orders. The expected size is given
to each codec, so that a tile cannot grow beyond its pixels.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from rasterloom.errors import Unreadable
from rasterloom.raster.deflate import DEFLATE, Inflate, inflater
from rasterloom.raster.header import Header, Level
from rasterloom.raster.recycled import Recycled
from rasterloom.raster.tiles import Tile, Window

Pixels = NDArray[Any]


class Decode(Protocol):
    """Tile and its bytes -> pixels of `tile.window`, shape (height, width, samples); samples is 1 for planar-separate files.

    `rows`: so many rows from the top are wanted; the others may be left out.
    """

    def __call__(self, tile: Tile, data: bytes | memoryview, rows: int | None = None) -> Pixels: ...


Unpack = Callable[[bytes | memoryview], Pixels]
"""Bytes -> array of shape (rows, columns, samples)."""

_JPEG = (6, 7, 34892)
_FLOAT_PREDICTOR = 3
_IMAGE_CODECS = frozenset({6, 7, 22610, 33003, 33004, 33005, 33007, 34712, 34887, 34892, 34933, 34934, 48124, 50001, 50002, 52546})
"""Compressions that hold whole images: predictors do not apply to them."""


@dataclass(frozen=True, slots=True)
class _Signature:
    """All that decides how the bytes of a block become pixels; hashable, so that decoders are made once."""

    byte_order: str
    width: int
    height: int
    rows: int
    cols: int
    """Pixels of the block that lie in the image: JPEG and last strips may stop there."""
    samples: int
    bits: int
    sample_format: int
    compression: int
    predictor: int
    photometric: int
    extra_samples: tuple[int, ...] | None
    subsampling: tuple[int, int] | None
    lerc: tuple[int, ...] | None
    jpeg_tables: bytes | None


def numpy_dtype(header: Header) -> np.dtype[Any]:
    """The numpy type of decoded samples; GDAL's complex integers come as `complex64` or `complex128`."""
    return _dtype_of(header.dtype)


@lru_cache(maxsize=64)
def _dtype_of(name: str) -> np.dtype[Any]:
    return np.dtype({"complex_int16": "complex64", "complex_int32": "complex128"}.get(name, name))


def decoder(header: Header, level: Level, memory: Recycled | None = None) -> Decode:
    """The decoder of the tiles of `level`. It raises `Unreadable` (`tile`) for bytes that are no such tile.

    A tile without bytes is sparse: it is filled with `fill_value`. Pixels are put into `memory` where that can be.
    """
    memory = memory or Recycled(0)
    samples = 1 if header.planar_configuration == 2 else header.samples_per_pixel
    fill, dtype = fill_value(header), numpy_dtype(header)
    signatures: dict[tuple[int, int], _Signature] = {}

    def decode(tile: Tile, data: bytes | memoryview, rows: int | None = None) -> Pixels:
        size = height, width = tile.window.height, tile.window.width
        if tile.byte_count == 0:
            return np.full((height, width, samples), fill, dtype)
        if len(data) != tile.byte_count:
            raise Unreadable(f"tile {tile.row}, {tile.col} has {len(data)} bytes, not {tile.byte_count}", reason="tile")
        signature = signatures.get(size) or signatures.setdefault(size, _signature(header, level, tile.window))
        pixels = _decoded(signature, data, rows or height, memory, f"tile {tile.row}, {tile.col}")
        return pixels[:height, :width].astype(dtype, copy=False)

    return decode


def fill_value(header: Header) -> int | float:
    """What sparse tiles hold: nodata, clamped to the type, or 0."""
    nodata, dtype = header.nodata or 0, numpy_dtype(header)
    if dtype.kind not in "iu":
        return nodata
    info = np.iinfo(dtype)
    return min(max(int(nodata), int(info.min)), int(info.max))


def _signature(header: Header, level: Level, window: Window) -> _Signature:
    return _Signature(
        byte_order=header.byte_order,
        width=level.tile_width,
        height=level.tile_height,
        rows=window.height,
        cols=window.width,
        samples=1 if header.planar_configuration == 2 else header.samples_per_pixel,
        bits=header.bits_per_sample,
        sample_format=header.sample_format,
        compression=level.compression,
        predictor=1 if level.compression in _IMAGE_CODECS else level.predictor,
        # A plane of a planar-separate file is a grey image, whatever the planes make together.
        photometric=1 if header.planar_configuration == 2 else header.photometric,
        extra_samples=None if header.planar_configuration == 2 else header.extra_samples,
        subsampling=None if header.planar_configuration == 2 else header.ycbcr_subsampling,
        lerc=header.lerc_parameters,
        jpeg_tables=level.jpeg_tables or header.jpeg_tables,
    )


def _decoded(signature: _Signature, data: bytes | memoryview, rows: int, memory: Recycled, what: str) -> Pixels:
    if signature.compression in DEFLATE:
        inflate = _inflate_of(signature)
        inflated = inflate(data, rows, memory) if inflate else None
        if inflated is not None:
            return inflated
    if signature.compression in _JPEG:
        _check_jpeg_size(data, signature, what)
    try:
        pixels = _decode_of(signature)(data)
    except (ValueError, RuntimeError, TypeError, IndexError, struct.error) as error:
        # imagecodecs' own errors are RuntimeErrors, tifffile's are ValueErrors.
        raise Unreadable(f"{what} cannot be decoded (compression {signature.compression}): {error}", reason="tile") from error
    if pixels.shape[0] < signature.rows or pixels.shape[1] < signature.cols or pixels.shape[2] != signature.samples:
        raise Unreadable(f"{what} decodes to {pixels.shape}, not to {signature.height} x {signature.width} pixels", reason="tile")
    return pixels


@lru_cache(maxsize=1024)
def _inflate_of(signature: _Signature) -> Inflate | None:
    if _has_planes(signature):
        return _inflate_floats(signature)
    return inflater(
        width=signature.width,
        height=signature.height,
        samples=signature.samples,
        bits=signature.bits,
        sample_format=signature.sample_format,
        predictor=signature.predictor,
        byte_order=signature.byte_order,
    )


def _inflate_floats(signature: _Signature) -> Inflate | None:
    plain = _inflate_of(_planes(signature))
    if plain is None:
        return None

    def inflate(data: bytes | memoryview, rows: int, memory: Recycled) -> Pixels | None:
        stored = plain(data, rows, memory)
        return None if stored is None else _floats(stored, signature)

    return inflate


@lru_cache(maxsize=1024)
def _decode_of(signature: _Signature) -> Unpack:
    if _has_planes(signature):
        unpack = _decode_of(_planes(signature))
        return lambda data: _floats(unpack(data), signature)
    page = tifffile.TiffFile(io.BytesIO(_one_tile_tiff(signature))).pages.first
    decode: Any = page.decode
    tables = {"jpegtables": signature.jpeg_tables} if signature.jpeg_tables else {}

    def run(data: bytes | memoryview) -> Pixels:
        pixels = decode(data, 0, _fullsize=True, **tables)[0]
        if pixels is None:
            raise ValueError("nothing was decoded")
        return pixels[0]

    return run


def _has_planes(signature: _Signature) -> bool:
    """Predictor 3: bytes of a row are split by significance, most significant first in both byte orders, then differenced."""
    return signature.predictor == _FLOAT_PREDICTOR and signature.bits in (32, 64)


def _planes(signature: _Signature) -> _Signature:
    """The same tile as bytes."""
    size = signature.bits // 8
    return _Signature(
        byte_order=signature.byte_order,
        width=signature.width * size,
        height=signature.height,
        rows=signature.rows,
        cols=signature.cols * size,
        samples=signature.samples,
        bits=8,
        sample_format=1,
        compression=signature.compression,
        predictor=1,
        photometric=1,
        extra_samples=None,
        subsampling=None,
        lerc=None,
        jpeg_tables=None,
    )


def _floats(stored: Pixels, signature: _Signature) -> Pixels:
    """Numbers out of their planes.

    imagecodecs' byte-wise `delta_decode` and numpy shifts, none of which makes an array of its own, take a fifth of the time of its
    `floatpred_decode`.
    """
    size = signature.bits // 8
    kind = np.dtype(f"u{size}")
    planes = np.asarray(imagecodecs.delta_decode(stored, axis=-2)).reshape(stored.shape[0], size, -1)
    values = planes[:, 0].astype(kind)
    for plane in range(1, size):
        values <<= kind.type(8)
        np.bitwise_or(values, planes[:, plane], out=values)
    return values.view(f"f{size}").reshape(stored.shape[0], -1, signature.samples)


def _check_jpeg_size(data: bytes | memoryview, signature: _Signature, what: str) -> None:
    """A JPEG says its own size, and its decoder believes it: refuse one that is larger than the block before it is allocated."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            if height > signature.height or width > signature.width:
                message = f"{what} holds a JPEG of {height} x {width}, more than the block's {signature.height} x {signature.width}"
                raise Unreadable(message, reason="tile")
            return
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def _one_tile_tiff(signature: _Signature) -> bytes:
    """A TIFF of one tile whose image is the valid part of the block, and which has no pixels."""
    samples = signature.samples
    entries: list[tuple[int, int, tuple[int, ...] | bytes]] = [
        (256, 4, (signature.cols,)),
        (257, 4, (signature.rows,)),
        (258, 3, (signature.bits,) * samples),
        (259, 3, (signature.compression,)),
        (262, 3, (signature.photometric,)),
        (277, 3, (samples,)),
        (284, 3, (1,)),
        (317, 3, (signature.predictor,)),
        (322, 4, (signature.width,)),
        (323, 4, (signature.height,)),
        (324, 4, (0,)),
        (325, 4, (0,)),
    ]
    if signature.extra_samples:
        entries.append((338, 3, signature.extra_samples))
    entries.append((339, 3, (signature.sample_format,) * samples))
    if signature.jpeg_tables:
        entries.append((347, 7, signature.jpeg_tables))
    if signature.subsampling:
        entries.append((530, 3, signature.subsampling))
    if signature.lerc:
        entries.append((50674, 4, signature.lerc))
    return _directory(signature.byte_order, entries)


def _directory(order: str, entries: list[tuple[int, int, tuple[int, ...] | bytes]]) -> bytes:
    head = struct.pack(order + "HI", 42, 8) + struct.pack(order + "H", len(entries))
    end, body, extra = 8 + 2 + 12 * len(entries) + 4, b"", b""
    for tag, kind, values in entries:
        raw = values if isinstance(values, bytes) else struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(raw) > 4:
            value = struct.pack(order + "I", end + len(extra))
            extra += raw + b"\0" * (len(raw) % 2)
        else:
            value = raw.ljust(4, b"\0")
        body += struct.pack(order + "HHI", tag, kind, len(values)) + value
    return (b"II" if order == "<" else b"MM") + head + body + struct.pack(order + "I", 0) + extra
