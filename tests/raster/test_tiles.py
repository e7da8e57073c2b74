"""Windows, tiles and ranges, and tiles that are not what they should be."""

from __future__ import annotations

import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.windows import from_bounds

from rasterloom.errors import Unreadable
from rasterloom.raster.decode import decoder, fill_value
from rasterloom.raster.header import Header
from rasterloom.raster.tiff import Buffer, read_header
from rasterloom.raster.tiles import CAP, GAP, Bounds, Tile, Window, level_affine, spans_of, tiles_of, whole, window_affine, window_of_bounds
from tests.raster.corpus import CountingFile, build, plain_fields

ONE = Window(col=0, row=0, width=16, height=16)


def header_of(path: Path) -> Header:
    return CountingFile(path.read_bytes()).header()


@given(st.floats(-500, 3500), st.floats(-500, 2500), st.floats(0.5, 2500), st.floats(0.5, 2500))
def test_bounds_become_the_pixels_they_touch(left: float, bottom: float, width: float, height: float) -> None:
    fields = plain_fields() | {33550: (12, (10.0, 10.0, 0.0)), 33922: (12, (0.0, 0.0, 0.0, 500000.0, 4100000.0, 0.0))}
    header = read_header(Buffer(build(fields), 0x2000))
    bounds = Bounds(left=500000 + left - 1000, bottom=4099000 + bottom, right=500000 + left + width - 1000, top=4099000 + bottom + height)
    window = window_of_bounds(header, header.full, bounds)
    transform = rasterio.Affine(*header.transform or ())
    exact = from_bounds(bounds.left, bounds.bottom, bounds.right, bounds.top, transform)
    cols = range(40)
    touched = [col for col in cols if col + 1 > exact.col_off + 1e-6 and col < exact.col_off + exact.width - 1e-6]
    assert window.empty or touched == list(range(window.col, window.col + window.width))
    assert window.empty or (window.col + window.width <= 40 and window.row + window.height <= 20)


def test_a_window_on_pixel_edges_has_just_those_pixels(corpus: dict[str, Path]) -> None:
    header = header_of(corpus["cog_plain"])
    window = Window(col=7, row=11, width=50, height=40)
    for level in (header.full, header.overviews[0]):
        a, _, c, _, e, f = window_affine(level_affine(header, level), window)
        bounds = Bounds(left=c, top=f, right=c + a * window.width, bottom=f + e * window.height)
        assert window_of_bounds(header, level, bounds) == window


def test_a_turned_grid_gives_the_box_around_the_bounds(corpus: dict[str, Path]) -> None:
    header = header_of(corpus["rotated"])
    with rasterio.open(corpus["rotated"]) as file:
        x, y = file.transform @ (100.5, 60.5)
    window = window_of_bounds(header, header.full, Bounds(left=x - 1, bottom=y - 1, right=x + 1, top=y + 1))
    assert window == Window(col=100, row=60, width=1, height=1)


def test_bounds_without_a_transform_are_refused(corpus: dict[str, Path]) -> None:
    header = header_of(corpus["gcps"])
    with pytest.raises(Unreadable) as caught:
        window_of_bounds(header, header.full, Bounds(left=0, bottom=0, right=1, top=1))
    assert caught.value.reason == "transform"


def test_tiles_of_a_window_cover_it_and_nothing_else(corpus: dict[str, Path]) -> None:
    header = header_of(corpus["planar"])
    window = Window(col=60, row=60, width=10, height=5)
    for band in range(4):
        tiles = tiles_of(header, band, header.full, window)
        assert [(tile.row, tile.col) for tile in tiles] == [(0, 0), (0, 1), (1, 0), (1, 1)]
        offsets, _ = header.band_tiles(band)
        assert [tile.offset for tile in tiles] == [offsets[0], offsets[1], offsets[5], offsets[6]]
    assert tiles_of(header, 0, header.full, Window(col=300, row=0, width=5, height=5)) == []


@given(st.lists(st.tuples(st.integers(1, 1 << 26), st.integers(0, 9 << 20)), max_size=30))
def test_spans_hold_every_tile_once(places: list[tuple[int, int]]) -> None:
    tiles = [Tile(row=0, col=col, offset=at, byte_count=count, window=ONE) for col, (at, count) in enumerate(places)]
    spans = spans_of(tiles)
    assert sorted(tile.col for span in spans for tile in span.tiles) == [tile.col for tile in tiles if tile.byte_count]
    for span in spans:
        assert span.end - span.start <= CAP or len(span.tiles) == 1
        assert all(span.start <= tile.offset and tile.offset + tile.byte_count <= span.end for tile in span.tiles)
    for before, after in pairwise(spans):
        assert (
            after.start - before.end > GAP
            or max(before.end, after.end) - before.start > CAP
            or after.tiles[0].byte_count + before.end - before.start > CAP
        )


def one_tile(compression: int, data: bytes, **more: Any) -> tuple[Header, Tile]:
    fields = plain_fields() | {
        256: (3, (16,)),
        257: (3, (16,)),
        258: (3, (8,)),
        259: (3, (compression,)),
        324: (4, (4096,)),
        325: (4, (len(data),)),
    }
    header = read_header(Buffer(build(fields | more.get("fields", {}), size=1 << 20), 1 << 20))
    return header, tiles_of(header, 0, header.full, ONE)[0]


@pytest.mark.parametrize(
    ("compression", "data"),
    [
        (8, b"no deflate at all"),
        (8, zlib.compress(bytes(256))[:-9]),
        (8, zlib.compress(bytes(100))),
        (8, zlib.compress(bytes(50 << 20))[:60_000]),
        (5, b"\x00" * 20),
        (50000, imagecodecs.zstd_encode(bytes(20 << 20))),
        (7, imagecodecs.jpeg_encode(np.zeros((300, 300), np.uint8))),
        (7, b"\xff\xd8\xff\xd9"),
        (9999, bytes(256)),
        (1, bytes(255)),
    ],
)
def test_bytes_that_are_no_such_tile(compression: int, data: bytes) -> None:
    header, tile = one_tile(compression, data)
    with pytest.raises(Unreadable) as caught:
        decoder(header, header.full)(tile, data)
    assert caught.value.reason == "tile"


def test_a_short_answer_is_not_decoded() -> None:
    data = zlib.compress(bytes(range(256)))
    header, tile = one_tile(8, data)
    assert decoder(header, header.full)(tile, data).ravel().tolist() == list(range(256))
    with pytest.raises(Unreadable, match="has 5 bytes"):
        decoder(header, header.full)(tile, data[:5])


def test_sparse_tiles_ask_for_nothing(corpus: dict[str, Path]) -> None:
    header = header_of(corpus["sparse"])
    tiles = tiles_of(header, 0, header.full, Window(col=300, row=300, width=50, height=40))
    assert spans_of(tiles) == []
    assert {value for tile in tiles for value in decoder(header, header.full)(tile, b"").ravel().tolist()} == {7}


@pytest.mark.parametrize(
    ("nodata", "dtype", "fill"), [(b"-10000", "uint8", 0), (b"nan", "float32", "nan"), (b"255", "uint8", 255), (b"", "uint8", 0)]
)
def test_fill_is_nodata_where_the_type_can_hold_it(nodata: bytes, dtype: str, fill: object) -> None:
    bits, kind = (32, 3) if dtype == "float32" else (8, 1)
    fields = {258: (3, (bits,)), 339: (3, (kind,))} | ({42113: (2, nodata + b"\0")} if nodata else {})
    header, _ = one_tile(8, b"x", fields=fields)
    assert str(fill_value(header)) == str(fill)


def test_whole_is_the_level(corpus: dict[str, Path]) -> None:
    header = header_of(corpus["cog_plain"])
    assert whole(header.full) == Window(col=0, row=0, width=1100, height=900)
