"""Arrays that read their pixels when Dask asks for them, block by block, in whatever process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from rasterloom.access.archive.shared import shared_stores
from rasterloom.access.credentials.secrets import Secrets
from rasterloom.access.pixels.engine import Engine
from rasterloom.access.pixels.scenes import Step
from rasterloom.access.pixels.stacks import check_classes, fill_layers, filled, within
from rasterloom.access.pixels.xarrays import Stack
from rasterloom.errors import SpecError
from rasterloom.raster.grid import Grid
from rasterloom.raster.tiles import Window, window_affine
from rasterloom.specs.effort import Effort

Chunks = Mapping[str, int] | int | Literal["auto"]
"""Size of a block along `time`, `y` and `x`, -1 for all; a number is for y and x; True and "auto" are one scene of 2048 x 2048."""
_DEFAULT = {"time": 1, "y": 2048, "x": 2048}


@dataclass(frozen=True, kw_only=True, eq=False)
class Opening:
    """Makes an engine in the process where it is asked; neither clients nor secrets travel."""

    effort: Effort
    source: str | None
    secrets: Secrets

    @cached_property
    def engine(self) -> Engine:
        """One for all blocks of this process, so that neighbours share the tiles at their edges."""
        effort = self.effort
        return Engine(shared_stores(effort.auth, effort=effort, secrets=self.secrets, source=self.source), effort=effort)

    def __getstate__(self) -> dict[str, Any]:
        return {"effort": self.effort, "source": self.source, "secrets": self.secrets}


@dataclass(frozen=True, kw_only=True, eq=False)
class LazyBand:
    """The only band of a stack. Not a value that Dask looks into: its tables are large."""

    opening: Opening
    stack: Stack

    def block(self, times: slice, window: Window) -> NDArray[Any]:
        """Shape (times, window.height, window.width)."""
        whole = self.stack.grid
        grid = Grid(crs=whole.crs, affine=window_affine(whole.affine, window), width=window.width, height=window.height)
        (fill,), (dtype,) = self.stack.fills, self.stack.dtypes
        part = replace(self.stack, steps=self.stack.steps[times], grid=grid)
        data = np.zeros(part.shape, dtype)
        (layers,) = fill_layers(self.opening.engine, part.steps, grid, part.wish, [data])
        return filled(layers, within(part.area, grid, all_touched=part.wish.all_touched), fill or 0).data

    def __dask_tokenize__(self) -> str:
        return uuid4().hex


def lazy_arrays(opening: Opening, stack: Stack, chunks: Chunks) -> list[Any]:
    """One Dask array of `stack.shape` per band. Raises SpecError without Dask."""
    try:
        import dask.array as da  # noqa: PLC0415  # an extra: only who asks for chunks needs it
    except ImportError as error:
        raise SpecError("chunks= needs Dask, which is not installed", remedy="pip install dask, or leave chunks out") from error
    for files, kernel in zip(stack.files, stack.wish.resampling, strict=True):
        check_classes(files, [kernel for _ in files])
    sizes = _sizes(chunks)
    parts = tuple(_parts(length, sizes[axis]) for axis, length in zip(("time", "y", "x"), stack.shape, strict=True))
    return [
        da.map_blocks(_block, chunks=parts, dtype=dtype, meta=np.empty((0, 0, 0), dtype), lazy=LazyBand(opening=opening, stack=single))
        for dtype, single in zip(stack.dtypes, _singles(stack), strict=True)
    ]


def _block(*, lazy: LazyBand, block_info: Any = None) -> NDArray[Any]:
    (first, last), (top, bottom), (left, right) = block_info[None]["array-location"]
    return lazy.block(slice(first, last), Window(col=left, row=top, width=right - left, height=bottom - top))


def _sizes(chunks: Chunks) -> dict[str, int]:
    if isinstance(chunks, bool) or chunks == "auto":
        return _DEFAULT
    given = {"y": chunks, "x": chunks} if isinstance(chunks, int) else dict(chunks) if isinstance(chunks, Mapping) else {str(chunks): 0}
    wrong = [name for name, size in given.items() if name not in _DEFAULT or size == 0 or size < -1]
    if wrong:
        raise SpecError(
            f"chunks {wrong[0]!r}: {given[wrong[0]]} is no size of time, y or x", remedy="e.g. chunks={'time': 1, 'y': 1024, 'x': 1024}"
        )
    return {**_DEFAULT, **given}


def _parts(length: int, size: int) -> tuple[int, ...]:
    """-1 is all in one."""
    size = length if size == -1 else size
    return tuple(min(size, length - start) for start in range(0, length, size)) or (0,)


def _singles(stack: Stack) -> Iterator[Stack]:
    """One stack per band."""
    for number, (band, kernel) in enumerate(zip(stack.wish.bands, stack.wish.resampling, strict=True)):
        steps = [Step(scenes=tuple(replace(scene, files=(scene.files[number],)) for scene in step.scenes)) for step in stack.steps]
        yield replace(stack, steps=tuple(steps), wish=replace(stack.wish, bands=(band,), resampling=(kernel,)))
