"""Scenes put onto one grid, step by step, as arrays of one band each."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from rasterloom.access.pixels.engine import Engine
from rasterloom.access.pixels.gridded import common_crs, grid_of, on_grid, projected, read_for
from rasterloom.access.pixels.scenes import SceneFiles, Step
from rasterloom.access.pixels.systems import known_crs, same_crs
from rasterloom.access.pixels.values import BandFile, Pixels
from rasterloom.access.pixels.warp import PICKING, Resampling, checked_resampling
from rasterloom.errors import SpecError, Unreadable
from rasterloom.raster.decode import numpy_dtype
from rasterloom.raster.grid import Grid
from rasterloom.raster.rasterize import inside

Resolution = float | tuple[float, float] | None
ResamplingChoice = str | Mapping[str, str]
"""One for all bands, or per band, `*` for those that are not named."""

CLASS_BANDS = frozenset({"scl", "qa", "qa60", "qa_pixel", "qa_radsat", "qa_aerosol", "sr_qa_aerosol", "fmask", "bqa", "pixel_qa", "map"})
"""Names, in lower case, of bands that hold classes or bits and not amounts."""
_PALETTE = 3
"""Photometric interpretation: each value names a colour."""
_FALLBACK = 8 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How pixels are wanted, of several bands."""

    bands: tuple[str, ...]
    resampling: tuple[Resampling, ...]
    """One per band."""
    crs: str | None = None
    """Of the result; None: the one that most files have."""
    resolution: Resolution = None
    """In the units of the CRS; None: that of the finest band."""
    all_touched: bool = False
    scaled: bool = False
    """Stored * scale + offset of the file, in floats, NaN where there is no valid pixel."""
    floats: bool = False
    """As stored, but in floats, NaN where there is no valid pixel."""
    masked: bool = False
    """As a masked array."""

    @property
    def has_nan(self) -> bool:
        return self.scaled or self.floats

    @property
    def is_gridded(self) -> bool:
        """Whether a grid is asked, other than each file's own."""
        return self.crs is not None or self.resolution is not None


def wish_of(
    bands: Sequence[str], resampling: ResamplingChoice = "nearest", crs: Any = None, resolution: Any = None, **options: Any
) -> Wish:
    """Checked arguments; `options` are other fields of `Wish`. Raises SpecError."""
    if not bands:
        raise SpecError("no band is asked", remedy="name one at least")
    twice = [band for band in bands if list(bands).count(band) > 1]
    if twice:
        raise SpecError(f"band {twice[0]} is asked twice", remedy="name each band once")
    return Wish(
        bands=tuple(bands), resampling=resamplings(bands, resampling), crs=crs_given(crs), resolution=_resolution(resolution), **options
    )


def crs_given(crs: Any) -> str | None:
    """An EPSG number, any text that pyproj knows, or a CRS object. Raises SpecError."""
    if crs is None:
        return None
    if hasattr(crs, "to_wkt"):
        crs = crs.to_epsg() or crs.to_wkt()
    text = f"EPSG:{crs}" if isinstance(crs, Integral) else str(crs)
    try:
        known_crs(text)
    except Unreadable as error:
        raise SpecError(error.message, remedy="give an EPSG number, or WKT") from None
    return text


def check_classes(files: Sequence[BandFile], resampling: Sequence[Resampling]) -> None:
    """That no kernel mixes classes. `resampling` has one per file. Raises SpecError."""
    for file, kernel in zip(files, resampling, strict=True):
        if kernel not in PICKING and is_classes(file):
            raise SpecError(
                f"{file.band} holds classes or bits: {kernel} would invent values between them",
                remedy=f"ask for nearest or mode: resampling={{{file.band!r}: 'nearest', '*': {kernel!r}}}",
            )


def is_classes(file: BandFile) -> bool:
    """A colour table, single bits, or a name that says it."""
    return file.header.photometric == _PALETTE or file.header.bits_per_sample == 1 or file.band.lower() in CLASS_BANDS


def grid_over(area: Sequence[BaseGeometry], files: Sequence[BandFile], *, crs: str | None, resolution: Resolution) -> Grid:
    """The grid on which `files` are read over an area: as few of them as can be are resampled.

    CRS: the given one, else that of most files; resolution: the given one, else that of the finest file in that CRS, whose grid it
    then keeps to. Other resolutions lie at their multiples. Raises SpecError.
    """
    target = crs or common_crs(files)
    finest = min((file for file in files if file.header.transform and same_crs(file.crs, target)), key=step_of, default=None)
    if resolution is None and finest is None:
        raise SpecError(f"no file is in {target[:60]}, so that none says how large a pixel is", remedy="give resolution=")
    asked = step_of(finest) if resolution is None and finest is not None else resolution
    assert asked is not None
    return grid_of(area, crs=target, resolution=asked, anchor=_anchor(finest, asked))


def step_of(file: BandFile) -> tuple[float, float]:
    """Width and height of a pixel in the units of the CRS."""
    a, b, _, d, e, _ = file.header.transform or (math.inf,) * 6
    return math.hypot(a, d), math.hypot(b, e)


def _anchor(file: BandFile | None, asked: float | tuple[float, float]) -> tuple[float, float]:
    """A corner of the file where the grid is to be the file's own."""
    if file is None or file.header.transform is None:
        return 0.0, 0.0
    wide, high = asked if isinstance(asked, tuple) else (asked, asked)
    a, b, c, d, e, f = file.header.transform
    is_own = b == d == 0 and math.isclose(abs(a), wide, rel_tol=1e-9) and math.isclose(abs(e), high, rel_tol=1e-9)
    return (c, f) if is_own else (0.0, 0.0)


def met(scenes: Sequence[SceneFiles], grid: Grid) -> list[SceneFiles]:
    """The scenes of which a band has a pixel on the grid. Raises SpecError where none has."""
    found = [scene for scene in scenes if any(read_for(file, grid, "nearest") is not None for file in scene.files)]
    if not found:
        raise SpecError("no scene of the collection has pixels in the area", remedy="see collection.bounds, and the dates of the view")
    return found


def within(area: BaseGeometry, grid: Grid, *, all_touched: bool) -> NDArray[np.bool_]:
    """True inside of a lon/lat area, shape (grid.height, grid.width)."""
    return inside(projected(area, grid.crs), grid.affine, width=grid.width, height=grid.height, all_touched=all_touched)


def band_dtype(files: Sequence[BandFile], wish: Wish) -> np.dtype[Any]:
    """What holds the values of all files of a band."""
    stored = np.result_type(*{numpy_dtype(file.header) for file in files})
    return np.result_type(stored, np.float32) if wish.has_nan else stored


def fill_of(files: Sequence[BandFile], dtype: np.dtype[Any], wish: Wish) -> float | int | None:
    """What stands where no pixel is valid: NaN where it is wished, else the first nodata of the files that `dtype` can hold.

    None where they name none.
    """
    if wish.has_nan:
        return np.nan
    for nodata in dict.fromkeys(file.header.nodata for file in files):
        if nodata is not None and (dtype.kind not in "iu" or np.iinfo(dtype).min <= nodata <= np.iinfo(dtype).max):
            return int(nodata) if dtype.kind in "iu" else nodata
    return None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layers:
    """Steps of one band."""

    data: NDArray[Any]
    """Shape (steps, height, width)."""
    valid: NDArray[np.bool_]
    """True = valid, in the shape of `data`."""


def fill_layers(engine: Engine, steps: Sequence[Step], grid: Grid, wish: Wish, targets: Sequence[NDArray[Any]]) -> list[Layers]:
    """The pixels of all bands of `wish` into `targets`, one per band, shape (steps, height, width). Raises the first error.

    Where no pixel is valid a target is left as it is. Bands of a scene are asked together, because they may lie in one file.
    """
    count = max((len(step.scenes) for step in steps), default=0)
    ranks = [np.full(target.shape, count, np.min_scalar_type(count)) for target in targets]
    places = [
        (band, place, rank, scene.files[band])
        for place, step in enumerate(steps)
        for rank, scene in enumerate(step.scenes)
        for band in range(len(wish.bands))
    ]
    files = [file for *_, file in places]
    kernels: list[Resampling] = [wish.resampling[band] for band, *_ in places]
    check_classes(files, kernels)
    for answer in on_grid(engine, files, grid, resampling=kernels):
        band, place, rank, file = places[answer.index]
        pixels = answer.pixels
        better = pixels.valid & (ranks[band][place] > rank)
        if pixels.data.dtype.kind in "fc":
            better &= ~np.isnan(pixels.data)  # no nodata is named, and yet it is no value
        np.copyto(targets[band][place], values_of(pixels, file, wish), where=better, casting="unsafe")
        ranks[band][place][better] = rank
    return [Layers(data=target, valid=rank < count) for target, rank in zip(targets, ranks, strict=True)]


def filled(layers: Layers, inside: NDArray[np.bool_] | None, fill: float | int) -> Layers:
    """`fill` where nothing is valid, or where `inside`, shape (height, width), is False. Changes the arrays of `layers`."""
    if inside is not None:
        layers.valid[:, ~inside] = False
    for data, valid in zip(layers.data, layers.valid, strict=True):
        data[~valid] = fill
    return layers


def values_of(pixels: Pixels, file: BandFile, wish: Wish) -> NDArray[Any]:
    """As stored, or scaled."""
    if not wish.scaled:
        return pixels.data
    scale, offset = (values[0] if values else default for values, default in ((file.header.scales, 1.0), (file.header.offsets, 0.0)))
    kind = np.result_type(pixels.data.dtype, np.float32)
    return (pixels.data.astype(np.result_type(kind, np.float64)) * scale + offset).astype(kind)


def check_size(shape: Sequence[int], itemsize: int, *, remedy: str) -> None:
    """That a result takes no more than half of the machine's memory, with two bytes per pixel for what is valid and who gave it.

    Raises SpecError.
    """
    size, limit = math.prod(shape) * (itemsize + 2), largest()
    if size > limit:
        raise SpecError(
            f"the result has {' x '.join(map(str, shape))} pixels, {size / 1e9:.1f} GB, and the limit is {limit / 1e9:.1f} GB",
            remedy=remedy,
        )


def largest() -> int:
    """Bytes of a result: half of the machine's memory."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):  # not on this system
        return _FALLBACK


def _resolution(given: Any) -> Resolution:
    """A number, or two. Raises SpecError."""
    if given is None or isinstance(given, Real):
        return None if given is None else float(given)
    sides = tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else ()
    if len(sides) != 2 or not all(isinstance(side, Real) for side in sides):
        raise SpecError(f"resolution {given!r} is no size of a pixel", remedy="give a number, or (width, height)")
    return float(sides[0]), float(sides[1])


def resamplings(bands: Sequence[str], choice: ResamplingChoice) -> tuple[Resampling, ...]:
    """One per band. Raises SpecError."""
    if isinstance(choice, str):
        return (checked_resampling(choice),) * len(bands)
    unknown = [name for name in choice if name != "*" and name not in bands]
    if unknown:
        raise SpecError(
            f"resampling names {unknown[0]!r}, which is not asked", remedy=f"it is for {', '.join(bands)}, and '*' for the others"
        )
    return tuple(checked_resampling(choice.get(band, choice.get("*", "nearest"))) for band in bands)
