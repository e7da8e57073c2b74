"""Pixels and masks of every file against rasterio's, at full resolution and at each overview, through rows of a collection."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window as GdalWindow

from rasterloom.access.pixels.values import Pixels, WindowRead
from rasterloom.raster.header import Header, Level
from rasterloom.raster.overviews import level_of
from rasterloom.raster.tiles import Window
from tests.access.engines import band_file, engine
from tests.access.gridfiles import MODERN_JPEG
from tests.raster.corpus import write_corpus, write_traps

MOST = 3000
"""Pixels along a side that are compared at once."""
DIFFERENT = {"corrupt.tif"}
"""Tiles of it lie beyond its end on purpose."""


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pixels")
    return write_corpus(root) | write_traps(root)


@pytest.fixture
def real(shared: Path) -> dict[str, Path]:
    files = sorted((shared / "data" / "cogs").glob("*/*"))
    return {path.name: path for path in files if path.name not in DIFFERENT}


@pytest.fixture(params=["corpus", pytest.param("real", marks=pytest.mark.slow)])
def files(request: pytest.FixtureRequest) -> dict[str, Path]:
    return request.getfixturevalue(request.param)


def windows_of(level: Level) -> Iterator[Window]:
    """The whole of a small level, else its beginning; and its last corner, not on tiles."""
    yield Window(col=0, row=0, width=min(level.width, MOST), height=min(level.height, MOST))
    if level.width > 3 and level.height > 3:
        col, row = max(level.width - 301, 1), max(level.height - 257, 1)
        yield Window(col=col, row=row, width=level.width - col, height=level.height - row)


def reads_of(path: Path) -> list[WindowRead]:
    """First and last band."""
    return [
        WindowRead(file=file, window=window, level=number)
        for file in (band_file(path, 0), band_file(path, -1))
        for number in range(len(file.header.overviews) + 1)
        for window in windows_of(level_of(file.header, number))
    ]


def same(ours: Pixels, read: WindowRead, path: Path) -> bool:
    window = GdalWindow(read.window.col, read.window.row, read.window.width, read.window.height)  # type: ignore[call-arg]
    options = {"overview_level": read.level - 1} if read.level else {}
    with rasterio.open(path, **options) as file:
        band = read.file.band_index + 1
        theirs, mask = file.read(band, window=window), file.read_masks(band, window=window) > 0
    return close(ours.data, theirs, read.file.header) and np.array_equal(ours.valid, mask)


def close(ours: np.ndarray, theirs: np.ndarray, header: Header) -> bool:
    if header.full.compression == 7 and not MODERN_JPEG:
        return float(np.abs(ours.astype(float) - theirs.astype(float)).mean()) < 20
    return np.array_equal(ours, theirs, equal_nan=theirs.dtype.kind in "fc")


def test_pixels_and_masks_are_gdals(files: dict[str, Path]) -> None:
    reads = [(path, read) for path in files.values() for read in reads_of(path)]
    wrong = []
    seen = set()
    for answer in engine().read(read for _, read in reads):
        path, read = reads[answer.index]
        seen.add(answer.index)
        if not same(answer.pixels, read, path):
            wrong.append((path.name, read.file.band_index, read.level, read.window))
    assert wrong == []
    assert len(seen) == len(reads)
