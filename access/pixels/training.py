"""Windows of scenes as samples of PyTorch: a dataset that reads when it is indexed, and samplers that say where.

What TorchGeo calls a GeoDataset and its samplers, over a collection: `DataLoader(dataset, sampler=RandomWindows(dataset, 1000))`. Nothing
here needs torch but what hands out tensors.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from rasterloom.access.pixels.gridded import on_grid, projected
from rasterloom.access.pixels.lazy import Opening
from rasterloom.access.pixels.scenes import SceneFiles
from rasterloom.access.pixels.stacks import check_classes
from rasterloom.access.pixels.values import BandFile, Pixels
from rasterloom.access.pixels.warp import Resampling
from rasterloom.errors import SpecError
from rasterloom.raster.grid import Grid
from rasterloom.raster.tiles import Window, window_affine

_AT_ONCE = 16
"""Samples of a batch that are read at once."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Where one sample is: what a sampler gives and a dataset takes."""

    scene: int
    """0-based, in the order of the dataset's scenes."""
    col: int
    row: int
    """Corner, in pixels of the scene's finest band."""


class PixelDataset:
    """Samples of one size, by number in the order of scenes and rows, or by `Sample`. Travels to workers that are spawned, never to
    ones that are forked: the clients of object stores have threads, which a fork leaves behind."""

    def __init__(
        self,
        scenes: Sequence[SceneFiles],
        *,
        opening: Opening,
        size: int,
        area: BaseGeometry | None = None,
        resampling: Resampling = "nearest",
        scaled: bool = False,
    ) -> None:
        """`area` is lon/lat: samples are windows that meet it. Raises SpecError where there is none."""
        for scene in scenes:
            check_classes(scene.files, tuple(resampling for _ in scene.files))
        self.size = size
        self._scenes, self._opening, self._area = tuple(scenes), opening, area
        self._areas: dict[str, BaseGeometry] = {}
        self._resampling: Resampling = resampling
        self._scaled, self._pid = scaled, os.getpid()
        self.windows = self.grid_windows(size)
        if not len(self.windows):
            raise SpecError(f"no window of {size} x {size} pixels lies inside of a scene and meets the area", remedy="give a smaller size")

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, key: int | Sample) -> dict[str, Any]:
        """`image` float32 (band, y, x), 0 where it is not valid; `valid` bool (y, x), in every band; `scene`, `datetime`, `crs`, and
        `bounds` (left, bottom, right, top) in it. Raises Unreadable, Unavailable or AccessDenied where a file cannot be read."""
        if os.getpid() != self._pid:
            raise SpecError(
                "a worker was forked, and the clients of object stores do not survive a fork",
                remedy="use dataset.loader(...), or DataLoader(..., multiprocessing_context='spawn')",
            )
        sample = key if isinstance(key, Sample) else self.sample(key)
        scene, grid = self._scenes[sample.scene], self.grid_of(sample)
        image, valid = self._pixels(scene.files, grid)
        torch, bounds = _torch(), grid.bounds
        return {
            "image": torch.from_numpy(image),
            "valid": torch.from_numpy(valid),
            "scene": scene.id,
            "datetime": scene.datetime.isoformat() if scene.datetime else "",
            "crs": grid.crs,
            "bounds": torch.tensor([bounds.left, bounds.bottom, bounds.right, bounds.top], dtype=torch.float64),
        }

    def __getitems__(self, keys: Sequence[int | Sample]) -> list[dict[str, Any]]:
        """A batch, read at once: the loader of PyTorch asks so."""
        with ThreadPoolExecutor(min(_AT_ONCE, max(len(keys), 1))) as pool:
            return list(pool.map(self.__getitem__, keys))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__.copy()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._pid = os.getpid()

    def sample(self, index: int) -> Sample:
        """Raises IndexError, by which a loop over the dataset ends."""
        scene, row, col = (int(number) for number in self.windows[index])
        return Sample(scene=scene, col=col, row=row)

    def grid_of(self, sample: Sample) -> Grid:
        """Where a sample lies."""
        whole = _grid_of(self._scenes[sample.scene].files)
        affine = window_affine(whole.affine, Window(col=sample.col, row=sample.row, width=self.size, height=self.size))
        return Grid(crs=whole.crs, affine=affine, width=self.size, height=self.size)

    def room_of(self, scene: int) -> tuple[int, int]:
        """Largest column and row at which a sample of the scene may begin."""
        whole = _grid_of(self._scenes[scene].files)
        return whole.width - self.size, whole.height - self.size

    def grid_windows(self, stride: int) -> NDArray[np.int64]:
        """Scene, row and column of every window of a regular grid that meets the area, shape (windows, 3); the last ones of a scene lie
        at its edge, so that no pixel is left out."""
        found = [self._windows_in(number, stride) for number in range(len(self._scenes))]
        return np.concatenate(found) if found else np.empty((0, 3), np.int64)

    def _windows_in(self, number: int, stride: int) -> NDArray[np.int64]:
        across, down = self.room_of(number)
        if across < 0 or down < 0:
            return np.empty((0, 3), np.int64)
        rows, cols = (axis.ravel() for axis in np.meshgrid(_starts(down, stride), _starts(across, stride), indexing="ij"))
        there = self.meets(number, rows, cols)
        return np.column_stack([np.full(int(there.sum()), number), rows[there], cols[there]]).astype(np.int64)

    def meets(self, scene: int, rows: NDArray[Any], cols: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether the windows that begin there meet the area."""
        if self._area is None:
            return np.ones(len(rows), bool)
        whole = _grid_of(self._scenes[scene].files)
        a, b, c, d, e, f = whole.affine
        corners = np.array([(0, 0), (self.size, 0), (self.size, self.size), (0, self.size)])
        x, y = cols[:, None] + corners[:, 0], rows[:, None] + corners[:, 1]
        outlines = shapely.polygons(np.stack([a * x + b * y + c, d * x + e * y + f], axis=-1))
        return np.asarray(shapely.intersects(self._area_in(self._area, whole.crs), outlines), bool)

    def _area_in(self, area: BaseGeometry, crs: str) -> BaseGeometry:
        if crs not in self._areas:
            self._areas[crs] = projected(area, crs)
            shapely.prepare(self._areas[crs])
        return self._areas[crs]

    def loader(self, *, batch_size: int = 1, sampler: Any = None, workers: int = 0, **options: Any) -> Any:
        """A DataLoader whose workers are spawned; `options` are its own. With workers, the script that calls it needs
        `if __name__ == "__main__":`."""
        if workers:
            options = {"multiprocessing_context": "spawn", "persistent_workers": True} | options
        _torch()
        return import_module("torch.utils.data").DataLoader(self, batch_size=batch_size, sampler=sampler, num_workers=workers, **options)

    def _pixels(self, files: Sequence[BandFile], grid: Grid) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        image = np.zeros((len(files), self.size, self.size), np.float32)
        valid = np.ones((self.size, self.size), bool)
        for answer in on_grid(self._opening.engine, files, grid, resampling=self._resampling):
            image[answer.index] = self._numbers(files[answer.index], answer.pixels)
            valid &= answer.pixels.valid
        image[:, ~valid] = 0
        return image, valid

    def _numbers(self, file: BandFile, pixels: Pixels) -> NDArray[Any]:
        scales, offsets = file.header.scales, file.header.offsets
        if not self._scaled or not (scales or offsets):
            return pixels.data
        return pixels.data * (scales[0] if scales else 1.0) + (offsets[0] if offsets else 0.0)


class GridWindows:
    """Samples of a regular grid, row by row, scene by scene: for prediction. `stride` is in pixels, by default the size."""

    def __init__(self, dataset: PixelDataset, stride: int | None = None) -> None:
        self._windows = dataset.grid_windows(stride or dataset.size)

    def __len__(self) -> int:
        return len(self._windows)

    def __iter__(self) -> Iterator[Sample]:
        for scene, row, col in self._windows.tolist():
            yield Sample(scene=scene, col=col, row=row)


@dataclass
class RandomWindows:
    """Samples at random places, the same for the same seed and epoch: for training. Larger scenes have more of them."""

    dataset: PixelDataset
    length: int
    """Samples of an epoch."""
    seed: int = 0
    epoch: int = 0
    """Raised by `set_epoch`, so that an epoch is not the one before."""

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Sample]:
        draw = np.random.default_rng([self.seed, self.epoch])
        for number in draw.integers(0, len(self.dataset), self.length):
            yield self._moved(self.dataset.sample(int(number)), draw)

    def _moved(self, sample: Sample, draw: np.random.Generator) -> Sample:
        """Away from the regular grid by up to half of a window, where it stays inside of the scene and the area."""
        across, down = self.dataset.room_of(sample.scene)
        step = self.dataset.size // 2
        col, row = (int(number) for number in np.array([sample.col, sample.row]) + draw.integers(-step, step + 1, 2))
        moved = replace(sample, col=min(max(col, 0), across), row=min(max(row, 0), down))
        return moved if self.dataset.meets(moved.scene, np.array([moved.row]), np.array([moved.col])).all() else sample


def _starts(last: int, stride: int) -> NDArray[np.int64]:
    return np.unique([*range(0, last, stride), last])


def _grid_of(files: Sequence[BandFile]) -> Grid:
    """Of the finest band."""
    finest = max(files, key=lambda file: file.header.full.width)
    assert finest.header.transform is not None
    return Grid(crs=finest.crs, affine=finest.header.transform, width=finest.header.full.width, height=finest.header.full.height)


def _torch() -> Any:
    """Raises SpecError where PyTorch is not installed."""
    try:
        return import_module("torch")
    except ImportError as error:
        raise SpecError("PyTorch is not installed", remedy="pip install 'rasterloom[torch]'") from error
