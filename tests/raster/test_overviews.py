"""Which overview is read for a resolution, as GDAL chooses; nodata in the type of the band."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling

from rasterloom.errors import Unreadable
from rasterloom.raster.overviews import NEAREST, level_for, level_of, mask_of
from rasterloom.raster.validity import valid_of
from tests.raster.corpus import CountingFile, write

SIDE = (500, 605)


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COG whose overviews are recognised by their values: no mean of noise is a value of another level."""
    noise = np.random.default_rng(3).random((1, *SIDE))
    return write(tmp_path_factory.mktemp("painted") / "c.tif", noise, cog={"BLOCKSIZE": 64, "OVERVIEW_RESAMPLING": "AVERAGE"})


def chosen_by_gdal(path: Path, side: tuple[int, int]) -> int:
    """The level all of whose values a nearest read at this size has."""
    with rasterio.open(path) as file:
        levels = len(file.overviews(1)) + 1
        got = set(file.read(1, out_shape=side, resampling=Resampling.nearest).ravel().tolist())
    for number in range(levels):
        with rasterio.open(path, **({"overview_level": number - 1} if number else {})) as small:
            if got <= set(small.read(1).ravel().tolist()):
                return number
    raise AssertionError("GDAL read no level")


@pytest.mark.parametrize("coarser", [1.0, 1.5, 1.59, 1.7, 2.0, 2.5, 3.1, 3.3, 3.9, 4.0, 5.5, 6.5, 7.0, 8.0, 12.0, 15.0, 16.0, 40.0])
def test_gdal_reads_the_same_level(painted: Path, coarser: float) -> None:
    header = CountingFile(painted.read_bytes()).header()
    assert len(header.overviews) >= 3
    side = max(round(SIDE[0] / coarser), 1), max(round(SIDE[1] / coarser), 1)
    asked = min(SIDE[0] / side[0], SIDE[1] / side[1])
    assert level_for(header, asked, threshold=NEAREST) == chosen_by_gdal(painted, side)


def test_a_smooth_read_takes_no_coarser_level_than_asked(painted: Path) -> None:
    header = CountingFile(painted.read_bytes()).header()
    assert [level_for(header, coarser) for coarser in (0.5, 1.0, 1.95, 2.0, 3.95, 4.0, 1000.0)] == [0, 0, 1, 1, 2, 2, len(header.overviews)]


def test_levels_and_masks_by_number(painted: Path) -> None:
    header = CountingFile(painted.read_bytes()).header()
    assert level_of(header, 0) is header.full
    assert level_of(header, 2) is header.overviews[1]
    assert mask_of(header, 1) is None
    with pytest.raises(Unreadable) as caught:
        level_of(header, len(header.overviews) + 1)
    assert caught.value.reason == "overview"


@pytest.mark.parametrize(
    ("dtype", "nodata", "values", "valid"),
    [
        ("uint8", 255.0, [255, 0], [False, True]),
        ("uint8", 0.5, [0, 1], [True, True]),
        ("int64", 2**53 + 1, [2**53, 2**53 + 1], [True, False]),
        ("uint64", float(2**53), [2**53, 2**53 + 1], [False, True]),
        ("float32", 0.1, [0.1, 0.2], [False, True]),
        ("float32", float("nan"), [np.nan, 0], [False, True]),
        ("float64", float("-inf"), [-np.inf, np.inf], [False, True]),
        ("float16", 0.1, [0.1, 0.25], [True, True]),
        ("complex64", 3.0, [3 + 4j, 4 + 3j], [False, True]),
        ("int16", None, [0, 1], [True, True]),
    ],
)
def test_nodata_is_compared_in_the_type_of_the_band(dtype: str, nodata: float | None, values: list[complex], valid: list[bool]) -> None:
    assert valid_of(np.array(values, dtype), nodata).tolist() == valid
