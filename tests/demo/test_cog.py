"""The demo's COG writer against GDAL and tifffile."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from rasterio.io import MemoryFile

from rasterloom.demo.cog import Grid, cog_bytes

GRID = Grid(epsg=32632, west=300_000.0, north=4_780_020.0, pixel=20.0)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).integers(0, 65_535, (height, width), dtype=np.uint16)


@given(height=st.integers(1, 300), width=st.integers(1, 300), tile=st.sampled_from([16, 64, 128]))
def test_gdal_reads_the_pixels_that_were_written(height: int, width: int, tile: int) -> None:
    pixels = noise(height, width)
    with MemoryFile(cog_bytes(pixels, GRID, tile=tile)) as memory, memory.open() as source:
        assert np.array_equal(source.read(1), pixels)


def test_gdal_sees_a_cog_in_its_place() -> None:
    with MemoryFile(cog_bytes(noise(700, 1000), GRID)) as memory, memory.open() as source:
        assert source.crs.to_epsg() == GRID.epsg
        assert source.transform.to_gdal() == (GRID.west, GRID.pixel, 0, GRID.north, 0, -GRID.pixel)
        assert source.nodata == 0
        assert source.block_shapes == [(256, 256)]
        assert source.overviews(1) == [2, 4]
        # GDAL says COG only where it believes the structural metadata.
        assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_layout_is_that_of_a_cog() -> None:
    data = cog_bytes(noise(700, 1000), GRID)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        pages = list(file.pages)
        ifds = [page.offset for page in pages]
        offsets = [page.dataoffsets for page in pages]
        counts = [page.databytecounts for page in pages]
    first_tile = min(min(part) for part in offsets)
    assert ifds == sorted(ifds)
    assert max(ifds) < first_tile <= 16_384, "one ordinary first range holds all headers"
    assert [page.subfiletype for page in pages] == [0, 1, 1]
    assert all(list(part) == sorted(part) for part in offsets)
    assert [part[0] for part in offsets] == sorted((part[0] for part in offsets), reverse=True), "the smallest overview comes first"
    for start, count in zip(offsets[0], counts[0], strict=True):
        assert int.from_bytes(data[start - 4 : start], "little") == count
        assert data[start + count : start + count + 4] == data[start + count - 4 : start + count]


def test_an_overview_is_the_mean_of_the_valid_pixels(tmp_path: Path) -> None:
    pixels = np.full((64, 64), 100, np.uint16)
    pixels[::2, ::2] = 0
    pixels[0, 1] = 400
    pixels[2:4, 2:4] = 0
    path = tmp_path / "x.tif"
    path.write_bytes(cog_bytes(pixels, GRID, tile=32))
    with rasterio.open(path, overview_level=0) as source:
        small = source.read(1)
    assert small.shape == (32, 32)
    assert (small[0, 0], small[0, 1], small[1, 1]) == (200, 100, 0)


@pytest.mark.parametrize("shape", [(1, 1), (256, 256), (257, 1)])
def test_no_more_overviews_than_it_needs(shape: tuple[int, int]) -> None:
    with MemoryFile(cog_bytes(noise(*shape), GRID)) as memory, memory.open() as source:
        assert len(source.overviews(1)) == (1 if max(shape) > 256 else 0)
