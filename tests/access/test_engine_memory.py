"""That the memory of a read does not grow with the number of windows, measured in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.access.gridfiles import write

SIDE = 1024
READER = """
import json, os, resource, sys
from dataclasses import replace
from pathlib import Path
from rasterloom.access.pixels.engine import Limits
from rasterloom.access.pixels.values import WindowRead
from rasterloom.raster.tiles import whole
from tests.access.engines import band_file, engine

def peak():
    if sys.platform == "linux":  # where ru_maxrss begins with what the parent had
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) >> 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 20

folder, count = Path(sys.argv[1]), int(sys.argv[2])
file = band_file(folder / "0.tif", 0)
limits = Limits(arrays=16 << 20, compressed=8 << 20, cached=8 << 20)
reads = [WindowRead(file=replace(file, href=str(folder / f"{number}.tif")), window=whole(file.header.full)) for number in range(count)]
sum(1 for _ in engine(limits=limits).read(reads[:1]))
before, total = peak(), 0
for answer in engine(limits=limits).read(reads):
    total += int(answer.pixels.data[0, 0]) + int(answer.pixels.valid.sum())
print(json.dumps({"grown": peak() - before, "total": total}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the peak of a process is read as POSIX tells it")
def test_the_peak_is_that_of_the_limits_and_not_of_the_number_of_windows(tmp_path: Path) -> None:
    """16 + 8 + 8 MiB of limits and 2 x 16 MiB that wait to be used again: 64; the rest are threads and what malloc leaves between."""
    pixels = np.random.default_rng(1).integers(1, 4000, (SIDE, SIDE)).astype(np.uint16)
    first = write(tmp_path / "0.tif", pixels, nodata=0, predictor=2, blockxsize=256, blockysize=256)
    for number in range(1, 320):
        os.link(first, tmp_path / f"{number}.tif")
    few, many = (grown(tmp_path, count) for count in (40, 320))
    assert many["total"] == 320 * (int(pixels[0, 0]) + SIDE * SIDE)
    assert few["grown"] <= 110
    assert many["grown"] <= 110, "320 windows are 960 MiB of arrays"


def grown(folder: Path, count: int) -> dict[str, int]:
    done = subprocess.run([sys.executable, "-c", READER, str(folder), str(count)], capture_output=True, text=True, check=True, timeout=300)
    return json.loads(done.stdout)
