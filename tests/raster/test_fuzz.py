"""Any bytes give a header, a request for more, or a named refusal, after few requests and little memory."""

from __future__ import annotations

import random
import struct
import tracemalloc
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rasterloom.errors import Unreadable
from rasterloom.raster.arrow import ext_array, metadata_array
from rasterloom.raster.header import Header
from rasterloom.raster.rows import header_from_row
from rasterloom.raster.tiff import Buffer, NeedMore, read_header
from tests.raster.corpus import build

SEEDS = ("cog_plain", "jpeg_mask", "form_BIG_YES", "planar", "strips_band", "sparse", "scaled", "crs_tmerc", "gcps", "tiepoint_inside")
NASTY = (0, 1, 2, 3, 4, 15, 16, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A few bytes, words or fields changed, or the end cut off."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(0, min(len(changed), 1200))
        kind = rng.randrange(5)
        if kind == 0:
            changed[at] = rng.randrange(256)
        elif kind == 1:
            changed[at : at + 2] = struct.pack("<H", rng.choice(NASTY) & 0xFFFF)
        elif kind == 2:
            changed[at : at + 4] = struct.pack(rng.choice("<>") + "I", rng.choice(NASTY))
        elif kind == 3:
            changed[at : at + 12] = changed[(other := rng.randrange(0, 600)) : other + 12]
        else:
            del changed[rng.randrange(8, len(changed)) :]
            changed += bytes(8)
    return bytes(changed)


def read(data: bytes, size: int | None) -> Header | str:
    """The header, or the reason; at most four requests, the last of which may still ask for more."""
    buffer = Buffer(data[:16384], size)
    for _ in range(4):
        result = attempt(buffer)
        if not isinstance(result, NeedMore):
            return result
        assert 0 <= result.start < result.end <= (1 << 64) + (1 << 27)
        part = data[result.start : result.end]
        if len(part) < result.end - result.start:
            return "short"
        buffer.add(result.start, part)
    return "four requests"


def attempt(buffer: Buffer) -> Header | NeedMore | str:
    try:
        return read_header(buffer)
    except NeedMore as more:
        return more
    except Unreadable as caught:
        refusal = caught
    assert 0 < len(refusal.message) < 500
    return refusal.reason


def test_mutated_headers(corpus: dict[str, Path]) -> None:
    """What is accepted is whole: it survives the way to Arrow and back, and every tile lies in the file."""
    rng = random.Random(20240601)
    seen: dict[str, int] = {}
    for name in SEEDS:
        data = corpus[name].read_bytes()
        for _ in range(250):
            hostile = mutated(data, rng)
            result = read(hostile, rng.choice((len(hostile), len(hostile), None)))
            if isinstance(result, Header):
                check_whole(result, len(hostile))
            outcome = result if isinstance(result, str) else "header"
            seen[outcome] = seen.get(outcome, 0) + 1
    assert seen["header"] > 250
    assert len(seen) > 12, seen


def check_whole(header: Header, size: int) -> None:
    row = header_from_row(metadata_array([header], [0])[0].as_py(), ext_array([header], [0])[0].as_py())
    assert row.dtype == header.dtype
    for level in (header.full, *header.overviews):
        offsets, counts = level.tile_offsets, level.tile_byte_counts
        assert len(offsets) == len(counts) > 0
        assert offsets.min() >= 0
        assert counts.min() >= 0
        assert header.size is None or (offsets + counts).max() <= size


def test_memory_stays_small(corpus: dict[str, Path]) -> None:
    data, rng = corpus["jpeg_mask"].read_bytes(), random.Random(7)
    tracemalloc.start()
    for _ in range(300):
        read(mutated(data, rng), len(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20


@settings(max_examples=300)
@given(st.binary(max_size=200), st.sampled_from([b"", b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"]), st.booleans())
def test_any_bytes(tail: bytes, head: bytes, known: bool) -> None:
    data = head + tail
    read(data, len(data) if known else None)


SHAPES = st.tuples(st.integers(1, 130), st.integers(1, 130), st.sampled_from([16, 32, 48]), st.sampled_from([16, 64]))


@settings(max_examples=150)
@given(SHAPES, st.sampled_from("<>"), st.booleans(), st.integers(1, 3), st.booleans(), st.sampled_from([8, 16, 32]), st.booleans())
def test_what_is_written_is_read(
    shape: tuple[int, int, int, int], order: str, big: bool, samples: int, planar: bool, bits: int, tiled: bool
) -> None:
    """Every layout of a directory, against the numbers it was made from."""
    data, offsets, counts = _written(shape, order, big=big, samples=samples, planar=planar, bits=bits, tiled=tiled)
    header = read_header(Buffer(data, len(data)))
    width, height, tile_width, tile_height = shape
    assert (header.full.width, header.full.height) == (width, height)
    assert (header.full.tile_width, header.full.tile_height) == ((tile_width, tile_height) if tiled else (width, min(tile_height, height)))
    assert (header.byte_order, header.bigtiff, header.dtype) == (order, big, f"uint{bits}")
    assert header.full.tile_offsets.tolist() == offsets
    assert header.full.tile_byte_counts.tolist() == counts
    bands = [header.band_tiles(band)[0].tolist() for band in range(samples)]
    assert ([offset for band in bands for offset in band] if planar else bands[0]) == offsets


def _written(
    shape: tuple[int, int, int, int], order: str, *, big: bool, samples: int, planar: bool, bits: int, tiled: bool
) -> tuple[bytes, list[int], list[int]]:
    width, height, tile_width, tile_height = shape
    across, down = (-(-width // tile_width) if tiled else 1), -(-height // tile_height)
    blocks = across * down * (samples if planar else 1)
    offsets, counts = [5000 + 3 * at for at in range(blocks)], [1 + at % 7 for at in range(blocks)]
    fields: dict[int, tuple[int, Any]] = {
        256: (4, (width,)),
        257: (3, (height,)),
        258: (3, (bits,) * samples),
        259: (3, (8,)),
        277: (3, (samples,)),
    }
    fields[284] = (3, (2 if planar else 1,))
    if tiled:
        fields |= {322: (3, (tile_width,)), 323: (4, (tile_height,)), 324: (4, tuple(offsets)), 325: (3, tuple(counts))}
    else:
        fields |= {273: (4, tuple(offsets)), 278: (3, (tile_height,)), 279: (3, tuple(counts))}
    return build(dict(sorted(fields.items())), order=order, big=big, size=9000), offsets, counts
