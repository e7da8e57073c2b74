"""The whole demo, as a user starts it: a process of its own, no terminal, its own Prefect."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import rasterio
from matplotlib.image import imread
from rasterio.warp import transform

import rasterloom
from rasterloom.access.network.ports import PORTS
from rasterloom.demo.home import NAME, Home
from rasterloom.demo.scenes import open_archive
from rasterloom.demo.server import serving

pytestmark = pytest.mark.slow
PROGRAM = [sys.executable, "-m", "rasterloom.cli.main"]
OTHERS = {"PREFECT_API_URL", "PREFECT_HOME", "RASTERLOOM_WORKSPACE"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, dict[str, Any], str]:
    """The demo's home, its document, and what it said on stderr."""
    directory = tmp_path_factory.mktemp("demo") / "out"
    environment = {name: value for name, value in os.environ.items() if name not in OTHERS} | {"HOME": str(directory.parent / "home")}
    done = subprocess.run(
        [*PROGRAM, "demo", "--json", "--output", str(directory)], capture_output=True, text=True, timeout=400, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return Home(directory), json.loads(done.stdout), done.stderr


def test_it_builds_once_and_then_asks_for_nothing(made: tuple[Home, dict[str, Any], str]) -> None:
    _, document, _ = made
    first, second = document["runs"]
    assert (first["action"], first["scenes"], first["headers"]) == ("build", 6, 23)
    assert first["asked"]["searches"] == 2
    assert first["asked"]["ranges"] == 24, "one request for each file, the missing one included"
    assert first["asked"]["bytes"] <= 23 * 16_384
    assert (second["action"], second["scenes"]) == ("reuse", 6)
    assert second["asked"] == {"searches": 0, "ranges": 0, "bytes": 0}


def test_it_says_which_file_is_missing(made: tuple[Home, dict[str, Any], str]) -> None:
    (row,) = made[1]["failures"]
    assert (row["item_id"], row["band"], row["http_status"]) == ("S2_32TKN_20240709", "B08", 404)


def test_it_leaves_pictures(made: tuple[Home, dict[str, Any], str]) -> None:
    for path in made[1]["pictures"]:
        picture = imread(path)
        assert min(picture.shape[:2]) > 400
        assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 50, "something is drawn"


def test_it_makes_an_image_a_month(made: tuple[Home, dict[str, Any], str]) -> None:
    """Eleven of the twelve files of two bands, each tile once; the twelfth is the missing one."""
    _, document, _ = made
    assert document["read_job"]["units"] == 6
    assert document["read_job"]["asked"]["searches"] == 0
    images = sorted(Path(document["images"]).rglob("*.tif"))
    assert [path.parent.name for path in images] == ["2024-06", "2024-07"]
    for path in images:
        with rasterio.open(path) as image:
            ndvi = image.read(1, masked=True)
        assert -1 <= ndvi.min() < ndvi.max() <= 1


def test_it_is_quiet_and_keeps_to_its_directory(made: tuple[Home, dict[str, Any], str]) -> None:
    home, _, said = made
    assert said == ""
    assert {path.name for path in home.directory.parent.iterdir()} <= {"out", "home"}
    assert not (home.directory.parent / "home" / "rasterloom_workspace").exists()
    assert not (home.directory.parent / "home" / ".prefect").exists()


def test_its_collection_is_plain_parquet(made: tuple[Home, dict[str, Any], str]) -> None:
    table = pq.read_table(made[1]["collection"])
    assert sorted(set(table["proj:epsg"].to_pylist())) == [32631, 32632]
    assert table.num_rows == 6


def test_its_pixels_are_those_of_the_archive(made: tuple[Home, dict[str, Any], str]) -> None:
    home, _, _ = made
    scene = "S2_32TKN_20240709"
    with serving(open_archive(home.archive), port=home.port()) as provider, rasterio.open(home.archive / scene / "B04.tif") as source:
        collection = rasterloom.load(home.workspace / NAME).where(pc.field("id") == scene)
        (read,) = collection.get_numpy((6.06, 43.07, 6.09, 43.09), ["B04"])
        assert provider.count.ranges <= 2
        row, col = (length // 2 for length in read.shape)
        inside = read[row - 10 : row + 10, col - 10 : col + 10]
        x, y = transform(4326, source.crs, [6.075], [43.08])
        row, col = source.index(x[0], y[0])
        nearby = source.read(1)[row - 100 : row + 100, col - 100 : col + 100]
    windows = np.lib.stride_tricks.sliding_window_view(nearby, inside.shape)
    assert (windows == inside).all(axis=(2, 3)).sum() == 1


def test_its_provider_starts_again(made: tuple[Home, dict[str, Any], str]) -> None:
    home, _, _ = made
    assert home.port() in PORTS
    with subprocess.Popen(
        [*PROGRAM, "demo", "--serve", "--output", str(home.directory)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline().startswith(f"serving http://127.0.0.1:{home.port()}/stac for ")
        with urllib.request.urlopen(f"http://127.0.0.1:{home.port()}/stac", timeout=60) as answer:
            assert json.load(answer)["id"] == "rasterloom-demo"
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=120) == 130
