"""Our reader, tifffile and GDAL agree on every header, and the pixels of a row are GDAL's pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
from rasterio.enums import MaskFlags

from rasterloom.errors import Unreadable
from rasterloom.raster.fallback import SparseFile, read_header_with_tifffile
from rasterloom.raster.header import Header, Level
from rasterloom.raster.tiff import Buffer

LEVELS = ("full", "mask", "overviews", "overview_masks")
MODERN_JPEG = rasterio.__gdal_version__ >= "3.11"
"""The wheels of rasterio 1.4 hold another libjpeg, which differs by design."""


@pytest.fixture(params=["corpus", "real"])
def files(request: pytest.FixtureRequest) -> dict[str, Path]:
    return request.getfixturevalue(request.param)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b


def level_differences(a: Level | None, b: Level | None) -> Iterator[str]:
    if a is None or b is None:
        yield from [] if a is b else ["one is missing"]
        return
    for name in Level.__slots__:
        if not same(getattr(a, name), getattr(b, name)):
            yield name


def levels_of(header: Header) -> list[Level | None]:
    return [header.full, header.mask, *header.overviews, *header.overview_masks]


def fallback(buffer: Buffer) -> Header:
    return read_header_with_tifffile(SparseFile(buffer), buffer.size)  # type: ignore[arg-type]


def blocks(file: rasterio.DatasetReader, band: int, level: Level, ovr: int | None) -> tuple[list[int], list[int]]:
    """GDAL's own tile table; a sparse block has neither offset nor size."""
    more = {} if ovr is None else {"ovr": ovr}
    found: tuple[list[int], list[int]] = ([], [])
    for row in range(level.tiles_down):
        for col in range(level.tiles_across):
            for values, what in zip(found, ("OFFSET", "SIZE"), strict=True):
                values.append(int(file.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=band, **more) or 0))
    return found


def test_tifffile_reads_the_same_header(files: dict[str, Path], counting: Any) -> None:
    names = [name for name in Header.__slots__ if name not in (*LEVELS, "header_end")]
    for path in files.values():
        data = path.read_bytes()
        ours, theirs = counting(data).header(), counting(data).header(fallback, most=200)
        assert [(path.name, name) for name in names if not same(getattr(ours, name), getattr(theirs, name))] == []
        differences = [list(level_differences(*pair)) for pair in zip(levels_of(ours), levels_of(theirs), strict=True)]
        assert not any(differences), (path.name, differences)


def test_gdal_sees_the_same_header(files: dict[str, Path], counting: Any) -> None:
    for path in files.values():
        header = counting(path.read_bytes()).header()
        with rasterio.open(path) as file:
            assert (header.full.width, header.full.height, header.samples_per_pixel) == (file.width, file.height, file.count), path.name
            assert (header.full.tile_height, header.full.tile_width) == file.block_shapes[0], path.name
            assert header.dtype == file.dtypes[0] or (header.dtype, file.dtypes[0]) == ("float16", "float32"), path.name
            assert same(header.nodata, None if file.nodata is None else float(file.nodata)), path.name
            assert header.transform == tuple(file.transform)[:6] or (header.transform is None and file.transform.is_identity), path.name
            assert (header.scales or (1.0,) * file.count) == file.scales
            assert (header.offsets or (0.0,) * file.count) == file.offsets
            masked = MaskFlags.per_dataset in file.mask_flag_enums[0] and MaskFlags.alpha not in file.mask_flag_enums[0]
            assert (header.mask is not None) == masked, path.name
            assert len(header.overviews) == len(file.overviews(1)), path.name


def test_gdal_has_the_same_tile_tables(files: dict[str, Path], counting: Any) -> None:
    for path in files.values():
        header = counting(path.read_bytes()).header()
        with rasterio.open(path) as file:
            for band in {0, header.samples_per_pixel - 1}:
                for ovr, level in enumerate((header.full, *header.overviews), -1):
                    offsets, counts = header.band_tiles(band, level)
                    expected = blocks(file, band + 1, level, None if ovr < 0 else ovr)
                    assert (offsets.tolist(), counts.tolist()) == expected, (path.name, band, ovr)


def test_gdal_has_the_same_crs(files: dict[str, Path], counting: Any) -> None:
    """Equal by code, or by what PROJ makes of it: the same corners in longitude and latitude."""
    for path in files.values():
        header = counting(path.read_bytes()).header()
        with rasterio.open(path) as file:
            assert (header.crs is None) == (file.crs is None), path.name
            if file.crs is None:
                continue
            if "COMPD_CS" not in file.crs.to_wkt():  # of a compound CRS the horizontal part is kept
                assert header.epsg == file.crs.to_epsg(), path.name
            ours, theirs = pyproj.CRS(header.crs), pyproj.CRS.from_wkt(file.crs.to_wkt())
            x, y = file.transform * (np.array([0, file.width / 2, file.width]), np.array([file.height, file.height / 2, 0]))
            geographic = [pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True).transform(x, y) for crs in (ours, theirs)]
            np.testing.assert_allclose(geographic[0], geographic[1], rtol=0, atol=1e-9, err_msg=path.name)
            assert ours.ellipsoid.semi_major_metre == theirs.ellipsoid.semi_major_metre, path.name


def test_cogs_need_two_requests_at_the_most(files: dict[str, Path], counting: Any) -> None:
    for path in files.values():
        data = path.read_bytes()
        file = counting(data)
        header = file.header()
        at_the_end = int.from_bytes(data[4:8], "big" if data[:2] == b"MM" else "little") > file.log[0][1]
        assert file.requests <= (4 if at_the_end else 2), (path.name, file.log)
        exact = counting(data)
        exact.header(first=header.header_end)
        assert exact.requests == 1, path.name


def test_tiles_beyond_the_end_of_a_real_file_are_noticed(shared: Path, counting: Any) -> None:
    with pytest.raises(Unreadable) as caught:
        counting((shared / "data/cogs/rasterio-fixtures/corrupt.tif").read_bytes()).header()
    assert caught.value.reason == "truncated"
