"""Rows from the top of deflated tiles: those of the whole tile, whatever the stream is like; and the memory they are put into."""

from __future__ import annotations

import io
import sys
import zlib
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from rasterloom.errors import Unreadable
from rasterloom.raster.decode import decoder
from rasterloom.raster.deflate import inflater
from rasterloom.raster.recycled import Recycled
from rasterloom.raster.tiff import Buffer, read_header
from rasterloom.raster.tiles import tiles_of, whole

WIDE, HIGH = 256, 192
NATIVE = {"little": "<", "big": ">"}[sys.byteorder]
INFLATE = inflater(width=WIDE, height=HIGH, samples=1, bits=8, sample_format=1, predictor=1, byte_order=NATIVE)


def pixels_of(kind: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (HIGH, WIDE), dtype=np.uint8)
    match kind:
        case "noise":
            return noise
        case "soft":
            return noise >> 4
        case "runs":
            return np.repeat(noise[:, :4], WIDE // 4, axis=1)
        case _:
            return np.full((HIGH, WIDE), 7, np.uint8)


@pytest.mark.parametrize("level", [0, 1, 6, 9])
@pytest.mark.parametrize("kind", ["noise", "soft", "runs", "flat"])
def test_any_number_of_rows_is_that_of_the_whole(kind: str, level: int) -> None:
    """Stored blocks, literals and long copies end at any byte of what is asked for."""
    pixels, memory = pixels_of(kind), Recycled()
    data = zlib.compress(pixels.tobytes(), level)
    assert INFLATE is not None
    for rows in range(1, HIGH + 1):
        memory.empty(rows * WIDE)[:] = 0xA5  # what a decoder leaves out is seen
        found = INFLATE(data, rows, memory)
        assert found is not None
        assert np.array_equal(found[:rows, :, 0], pixels[:rows])


@settings(max_examples=300)
@given(st.sampled_from(["noise", "soft", "runs", "flat"]), st.integers(0, 9), st.integers(1, HIGH), st.data())
def test_a_stream_that_ends_early_or_is_damaged_is_never_wrong_rows(kind: str, level: int, rows: int, data: st.DataObject) -> None:
    """What was inflated before the end of the stream is right; where that is not enough, there is nothing."""
    pixels = pixels_of(kind, level)
    whole = zlib.compress(pixels.tobytes(), level)
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    assert INFLATE is not None
    found = INFLATE(cut, rows, Recycled())
    assert found is None or np.array_equal(found[:rows, :, 0], pixels[:rows])
    if len(zlib.decompressobj().decompress(cut)) < rows * WIDE:
        assert found is None


def test_what_is_no_stream_at_all_is_left_to_the_general_decoder() -> None:
    assert INFLATE is not None
    for wrong in (b"", b"II*\0", zlib.compress(b"short"), bytes(1000), zlib.compressobj(zdict=b"abc").compress(b"abc" * 99)):
        for rows in (1, HIGH):
            assert INFLATE(wrong, rows, Recycled()) is None


@pytest.mark.parametrize(("bits", "sample_format", "name"), [(8, 1, "u1"), (16, 1, "u2"), (16, 2, "i2"), (32, 1, "u4"), (64, 2, "i8")])
def test_differences_are_undone_in_every_width(bits: int, sample_format: int, name: str) -> None:
    rng = np.random.default_rng(bits)
    info = np.iinfo(name)
    pixels = rng.integers(info.min, info.max, (40, 30, 3), dtype=name, endpoint=True)
    data = zlib.compress(np.asarray(imagecodecs.delta_encode(pixels, axis=-2)).tobytes())
    inflate = inflater(width=30, height=40, samples=3, bits=bits, sample_format=sample_format, predictor=2, byte_order=NATIVE)
    assert inflate is not None
    for rows in (1, 7, 29, 31, 40):
        found = inflate(data, rows, Recycled())
        assert found is not None
        assert found.dtype == pixels.dtype
        assert np.array_equal(found[:rows], pixels[:rows])


@pytest.mark.parametrize("name", ["<f4", ">f4", "<f8"])
def test_the_first_rows_of_floats_are_those_of_the_whole_tile(name: str) -> None:
    """Predictor 3, written by tifffile; a tile that is cut behind them shows that no more is inflated."""
    pixels = np.random.default_rng(3).normal(size=(64, 48)).astype(name[1:])
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, tile=(64, 48), compression="zlib", predictor=True, byteorder=name[0], metadata=None)
    header = read_header(Buffer(file.getvalue(), len(file.getvalue())))
    tile = tiles_of(header, 0, header.full, whole(header.full))[0]
    data = file.getvalue()[tile.offset : tile.offset + tile.byte_count]
    decode = decoder(header, header.full, Recycled())
    assert np.array_equal(decode(tile, data)[:, :, 0], pixels)
    damaged = data[:-600] + bytes(600)
    assert np.array_equal(decode(tile, damaged, 20)[:20, :, 0], pixels[:20])
    with pytest.raises(Unreadable):
        decode(tile, damaged)


def test_what_needs_more_than_that_is_left_to_the_general_decoder() -> None:
    plain: dict[str, Any] = {"width": 8, "height": 8, "samples": 1, "bits": 16, "sample_format": 1, "predictor": 1, "byte_order": NATIVE}
    changes: tuple[dict[str, Any], ...] = (
        {"byte_order": "><"[NATIVE == ">"]},
        {"bits": 12},
        {"sample_format": 5},
        {"predictor": 3, "sample_format": 3, "bits": 32},
        {"predictor": 2, "sample_format": 3, "bits": 32},
    )
    for change in changes:
        assert inflater(**{**plain, **change}) is None


def test_memory_comes_back_with_the_last_view_of_it() -> None:
    memory = Recycled()
    first = memory.empty(100_000)
    place = first.ctypes.data
    view = first.view(np.uint16).reshape(100, 500)[3:, ::2]
    del first
    assert memory.kept == 0
    assert memory.empty(100_000).ctypes.data != place
    del view
    assert memory.empty(90_000).ctypes.data == place


def test_no_more_is_kept_than_was_said() -> None:
    memory = Recycled(1 << 20)
    for size in (1 << 19, 1 << 20, 1 << 21):
        many = [memory.empty(size) for _ in range(4)]
        del many
        assert memory.kept <= 1 << 20
    assert Recycled(0).empty(5).nbytes == 5
