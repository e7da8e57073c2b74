"""GDAL's Python in a process that has not loaded it, where several threads need it at once, and its false warnings."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
from rasterio.errors import NotGeoreferencedWarning

from rasterloom.raster.gdal import hide_false_warnings

SCRIPT = """
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
import numpy as np
from rasterloom.access.pixels.values import Pixels
from rasterloom.access.pixels.warp import gdal_crs, warped
from rasterloom.raster.grid import Grid

assert "rasterio" not in sys.modules
together = Barrier(8)
fine = Grid(crs="EPSG:32632", affine=(1, 0, 600_000, 0, -1, 5_000_000), width=8, height=8)
coarse = Grid(crs="EPSG:32632", affine=(2, 0, 600_000, 0, -2, 5_000_000), width=4, height=4)
pixels = Pixels(data=np.ones((8, 8), np.float32), valid=np.ones((8, 8), bool))

def use(number):
    together.wait()
    if number % 2:
        return gdal_crs(f"EPSG:{32630 + number}").to_epsg() == 32630 + number
    return (warped(pixels, fine, coarse, "average").data == 1).all()

with ThreadPoolExecutor(8) as pool:
    assert all(pool.map(use, range(8)))
"""


def test_threads_load_it_whole() -> None:
    """rasterio's compiled modules import each other in a circle: a thread that came in the middle found `guard_transform` missing."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["rasterio.warp", "rasterio.features"])
def test_false_warnings_stay_hidden(module: str) -> None:
    """After a block that put the filters back, and where somebody asks for errors later."""
    with warnings.catch_warnings():
        hide_false_warnings()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        hide_false_warnings()
        hide_false_warnings()
        warnings.warn_explicit("of an array", NotGeoreferencedWarning, "warp.py", 1, module=module)
        with pytest.raises(NotGeoreferencedWarning):
            warnings.warn_explicit("of a file", NotGeoreferencedWarning, "user.py", 1, module="user")


def test_hiding_false_warnings_again_changes_nothing() -> None:
    with warnings.catch_warnings():
        hide_false_warnings()
        rules = list(warnings.filters)
        hide_false_warnings()
        assert warnings.filters == rules
