"""A header as a row: Rasteret's seventeen fields exactly, the rest beside them, and nothing lost on the way back."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rasterloom.raster.arrow import (
    EXT_TYPE,
    METADATA_TYPE,
    OVERVIEW_SHARE,
    OVERVIEW_TILES,
    ext_array,
    metadata_array,
)
from rasterloom.raster.header import Header, Level
from rasterloom.raster.rows import header_from_row
from tests.raster.corpus import CountingFile

LOST = {"bigtiff", "header_end", "full", "overviews", "mask", "overview_masks", "scales", "offsets"}
"""Not stored, or compared on their own."""


@pytest.fixture(scope="module")
def headers(corpus: dict[str, Path]) -> list[Header]:
    return [CountingFile(path.read_bytes()).header() for path in corpus.values()]


def rows(headers: list[Header | None], bands: list[int]) -> list[tuple[Any, Any]]:
    table = pa.table({"m": metadata_array(headers, bands), "e": ext_array(headers, bands)})
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    table = pq.read_table(io.BytesIO(sink.getvalue()))
    table.validate(full=True)
    return list(zip(table["m"].to_pylist(), table["e"].to_pylist(), strict=True))


def assert_same_level(a: Level, b: Level) -> None:
    for name in Level.__slots__:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def test_the_struct_is_rasterets() -> None:
    names = "image_width image_height tile_width tile_height dtype transform predictor compression tile_offsets tile_byte_counts"
    names += " pixel_scale tiepoint nodata samples_per_pixel planar_configuration photometric extra_samples"
    assert [field.name for field in METADATA_TYPE] == names.split()
    kinds = {
        "i": pa.int32(),
        "s": pa.string(),
        "D": pa.list_(pa.float64()),
        "L": pa.list_(pa.int64()),
        "d": pa.float64(),
        "I": pa.list_(pa.int32()),
    }
    assert [field.type for field in METADATA_TYPE] == [kinds[letter] for letter in "iiiisDiiLLDDdiiiI"]


def test_headers_survive_parquet(headers: list[Header]) -> None:
    bands = [header.samples_per_pixel - 1 for header in headers]
    for header, band, (metadata, ext) in zip(headers, bands, rows(list(headers), bands), strict=True):
        back = header_from_row(metadata, ext)
        for name in set(Header.__slots__) - LOST:
            np.testing.assert_equal(getattr(back, name), getattr(header, name), err_msg=name)
        assert back.scales == (None if header.scales is None else (header.scales[band],))
        assert back.offsets == (None if header.offsets is None else (header.offsets[band],))
        for mine, theirs in zip((header.full, *header.overviews), (back.full, *back.overviews), strict=True):
            assert (theirs.width, theirs.height, theirs.tile_width) == (mine.width, mine.height, mine.tile_width)
            if not theirs.stored:
                continue
            for table, expected in zip(back.band_tiles(band, theirs), header.band_tiles(band, mine), strict=True):
                np.testing.assert_array_equal(table, expected)
        for mine, theirs in zip(header.overview_masks, back.overview_masks, strict=True):
            assert_same_level(theirs, mine)
        assert (back.mask is None) == (header.mask is None)
        if header.mask is not None and back.mask is not None:
            assert_same_level(back.mask, header.mask)


def test_failed_headers_are_null_rows(headers: list[Header]) -> None:
    some: list[Header | None] = [None, headers[0], None, headers[1], None]
    got = rows(some, [0] * 5)
    assert [(metadata is None, ext is None) for metadata, ext in got] == [(header is None,) * 2 for header in some]
    assert got[3][0]["image_width"] == headers[1].full.width
    assert metadata_array([None], [0]).null_count == 1
    assert ext_array([], []).type == EXT_TYPE


def test_north_up_grids_have_four_numbers_and_turned_ones_six(corpus: dict[str, Path]) -> None:
    def transform(name: str) -> list[float]:
        return metadata_array([CountingFile(corpus[name].read_bytes()).header()], [0])[0].as_py()["transform"]

    assert transform("codec_none") == [10, 500000, -10, 4100000]
    assert transform("south_up") == [10, 500000, 10, 4093000]
    assert transform("tiepoint_inside") == [10, 500000, -10, 4100000]
    assert transform("point") == [10, 500000, -10, 4100000]
    assert len(transform("rotated")) == 6


def test_overview_offsets_of_a_gdal_cog_follow_from_its_byte_counts(corpus: dict[str, Path]) -> None:
    plain, sparse = (ext_array([CountingFile(corpus[name].read_bytes()).header()], [0])[0].as_py() for name in ("cog_plain", "cog_sparse"))
    stored = [level for level in plain["levels"] if level["byte_counts"] is not None]
    assert [level["offsets"] for level in stored] == [None] * len(stored)
    assert {level["gap"] for level in stored if len(level["byte_counts"]) > 1} == {8}
    assert any(level["offsets"] for level in sparse["levels"])
    assert [level["first_offset"] is None for level in stored] == [*[True] * (len(stored) - 1), False]


def first_offsets(headers: list[Header]) -> list[int | None]:
    return [level["first_offset"] for row in ext_array(headers, [0] * len(headers)).to_pylist() for level in row["levels"]]


def test_where_an_overview_begins_is_told_where_it_does_not_follow(headers: list[Header]) -> None:
    """Also not from the overview of another band of the same file, which stands behind it."""
    large, small = level_of(512, 256), level_of(256, 256)
    header = replace(headers[0], full=level_of(2048, 256), overviews=(large, small), samples_per_pixel=1)
    assert first_offsets([header, header]) == [4096] * 4
    moved = replace(header, overviews=(replace(large, tile_offsets=large.tile_offsets + 1008), small))
    assert first_offsets([moved, moved]) == [None, 4096] * 2
    back = header_from_row(*rows([moved], [0])[0])
    assert [level.tile_offsets.tolist() for level in back.overviews] == [level.tile_offsets.tolist() for level in moved.overviews]


def test_overview_tables_take_an_eighth_of_the_tiles_of_full_resolution_at_the_most(headers: list[Header]) -> None:
    for header in headers:
        sizes = [level.tiles_across * level.tiles_down for level in (header.full, *header.overviews)]
        room = max(OVERVIEW_TILES, sizes[0] * OVERVIEW_SHARE)
        levels = [level for level in ext_array([header], [0])[0].as_py()["levels"] if not level["mask"]]
        for position, level in enumerate(levels, 1):
            assert (level["byte_counts"] is not None) == (sum(sizes[position:]) <= room)
            assert (level["width"], level["tile_width"]) == (
                header.overviews[position - 1].width,
                header.overviews[position - 1].tile_width,
            )


def level_of(side: int, tile: int) -> Level:
    tiles = (-(-side // tile)) ** 2
    tables = {"tile_offsets": 4096 + np.arange(tiles, dtype=np.int64) * 1008, "tile_byte_counts": np.full(tiles, 1000, np.int64)}
    return Level(width=side, height=side, tile_width=tile, tile_height=tile, compression=8, predictor=2, **tables)


def test_a_large_overview_stays_in_the_file(headers: list[Header]) -> None:
    full, *overviews = (level_of(side, tile) for side, tile in ((10980, 1024), (5490, 512), (2745, 512), (1373, 512), (687, 512)))
    header = replace(headers[0], full=full, overviews=tuple(overviews), samples_per_pixel=1)
    counts = [level["byte_counts"] for level in ext_array([header], [0])[0].as_py()["levels"]]
    assert [table and len(table) for table in counts] == [None, None, 9, 4]
    back = header_from_row(*rows([header], [0])[0])
    assert [(level.width, level.stored) for level in back.overviews] == [(5490, False), (2745, False), (1373, True), (687, True)]


def test_a_row_of_rasterets_own_has_no_ext(corpus: dict[str, Path]) -> None:
    header = CountingFile(corpus["p2_deflate_uint16_LITTLE"].read_bytes()).header()
    back = header_from_row(metadata_array([header], [0])[0].as_py(), None)
    assert (back.byte_order, back.bits_per_sample, back.sample_format, back.full.predictor) == ("<", 16, 1, 2)
    assert back.overviews == ()
