"""Samples for PyTorch: the pixels of the files, whoever asks, in whatever process."""

from __future__ import annotations

import importlib.util
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from rasterloom.access.collection import Collection, load
from rasterloom.access.pixels.training import GridWindows, RandomWindows, Sample
from rasterloom.errors import SpecError
from tests.access.gridfiles import EFFORT
from tests.access.imagery import NORTH, PIXEL, WEST, Imagery

HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed")


@pytest.fixture
def imagery(tmp_path: Path) -> Imagery:
    """A scene of 200 x 160 pixels with a coarser band, and a smaller one in the neighbouring zone."""
    made = Imagery(tmp_path / "files", tmp_path / "workspace")
    draw = np.random.default_rng(0)
    first = {"B04": draw.integers(0, 3000, (160, 200)).astype("u2"), "B11": draw.integers(0, 3000, (80, 100)).astype("u2")}
    made.add("large", "2024-06-04T10:30:00", first, pixel={"B11": 20.0})
    second = {"B04": draw.integers(0, 3000, (100, 100)).astype("u2"), "B11": draw.integers(0, 3000, (50, 50)).astype("u2")}
    made.add("small", "2024-06-14T10:30:00", second, crs="EPSG:32631", pixel={"B11": 20.0})
    made.build()
    return made


def collection(made: Imagery) -> Collection:
    return load("s2", str(made.workspace), effort=EFFORT)


def test_windows_lie_inside_of_their_scenes_and_a_regular_grid_leaves_no_pixel_out(imagery: Imagery) -> None:
    dataset = collection(imagery).to_torch(["B04"], size=64)
    assert len(dataset) == 4 * 3 + 2 * 2
    found = [(sample.scene, sample.row, sample.col) for sample in GridWindows(dataset, stride=32)]
    assert len(found) == len(set(found)) == 6 * 4 + 3 * 3
    assert {(0, 96, 128), (0, 96, 136), (1, 36, 36)} <= set(found)


def test_an_area_leaves_windows_out_in_every_zone(imagery: Imagery) -> None:
    # The south-western corner of the larger scene.
    dataset = collection(imagery).to_torch(["B04"], size=64, geometries=[9.0001, 46.0405, 9.006, 46.0415])
    assert {(sample.scene, sample.col, sample.row) for sample in GridWindows(dataset, stride=32)} == {(0, 0, 96), (0, 32, 96)}
    assert {(sample.scene, sample.row) for sample in RandomWindows(dataset, 50)} <= {(0, row) for row in range(60, 97)}
    with pytest.raises(SpecError, match="no window of 512 x 512 pixels"):
        collection(imagery).to_torch(["B04"], size=512)


def test_random_windows_are_the_same_for_a_seed_and_others_in_the_next_epoch(imagery: Imagery) -> None:
    dataset = collection(imagery).to_torch(["B04"], size=64)
    sampler = RandomWindows(dataset, 40, seed=7)
    first = list(sampler)
    assert first == list(sampler) == list(RandomWindows(dataset, 40, seed=7))
    sampler.set_epoch(1)
    assert first != list(sampler)
    assert len(sampler) == 40
    for sample in first:
        across, down = dataset.room_of(sample.scene)
        assert 0 <= sample.col <= across
        assert 0 <= sample.row <= down


def test_classes_are_not_mixed_and_a_missing_torch_is_told(imagery: Imagery, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = collection(imagery).to_torch(["B04"], size=64)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SpecError, match="PyTorch is not installed") as caught:
        dataset[0]
    assert caught.value.remedy == "pip install 'rasterloom[torch]'"


@needs_torch
def test_a_sample_is_what_rasterio_reads(imagery: Imagery) -> None:
    dataset = collection(imagery).to_torch(["B04", "B11"], size=64)
    found = dataset[Sample(scene=0, col=30, row=20)]
    with rasterio.open(imagery.path("large", "B04")) as fine, rasterio.open(imagery.path("large", "B11")) as coarse:
        expected = np.stack(
            [fine.read(1, window=Window(30, 20, 64, 64)), coarse.read(1, window=Window(15, 10, 32, 32)).repeat(2, 0).repeat(2, 1)]
        )
    valid = (expected > 0).all(axis=0)
    np.testing.assert_array_equal(found["valid"].numpy(), valid)
    np.testing.assert_array_equal(found["image"].numpy(), np.where(valid, expected, 0).astype("f4"))
    assert (found["scene"], found["crs"], found["datetime"]) == ("large", "EPSG:32632", "2024-06-04T10:30:00")
    left, top = WEST + 30 * PIXEL, NORTH - 20 * PIXEL
    assert found["bounds"].tolist() == [left, top - 64 * PIXEL, left + 64 * PIXEL, top]
    again = pickle.loads(pickle.dumps(dataset))[Sample(scene=0, col=30, row=20)]
    assert (again["image"] == found["image"]).all()


WORKERS = """
import sys
from rasterloom.access.collection import load
from rasterloom.access.pixels.training import RandomWindows
from rasterloom.errors import SpecError
from tests.access.gridfiles import EFFORT

if __name__ == "__main__":
    dataset = load("s2", sys.argv[1], effort=EFFORT).to_torch(["B04", "B11"], size=64)
    sampler = RandomWindows(dataset, 12, seed=1)
    alone = [sample for batch in dataset.loader(batch_size=4, sampler=sampler) for sample in batch["image"]]
    spawned = [sample for batch in dataset.loader(batch_size=4, sampler=sampler, workers=2) for sample in batch["image"]]
    assert len(alone) == len(spawned) == 12
    assert all((one == other).all() for one, other in zip(alone, spawned))
    try:
        next(iter(dataset.loader(batch_size=4, sampler=sampler, workers=1, multiprocessing_context="fork", persistent_workers=False)))
    except SpecError as error:
        print("refused" if "a worker was forked" in str(error) else error)
"""


@needs_torch
@pytest.mark.slow
def test_spawned_workers_read_the_same_and_forked_ones_are_refused(imagery: Imagery, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(WORKERS)
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, str(script), str(imagery.workspace)],
        cwd=root,
        env={"PYTHONPATH": str(root), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "refused"
