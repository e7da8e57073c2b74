"""What the images of a composite are: their dtype, nodata and scale, from what the headers of their scenes say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rasterloom.access.pixels.warp import PICKING
from rasterloom.access.reads.cogs import ImageFacts
from rasterloom.access.reads.scenes import FileFacts
from rasterloom.errors import SpecError
from rasterloom.raster.composites import dtype_of
from rasterloom.specs.expressions import parse_expression
from rasterloom.specs.reads import CompositeRead

_MASK_NODATA = 255.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlan:
    """One output of the composite."""

    layer: np.dtype[Any]
    """What its layers are turned into before they are put together."""
    facts: ImageFacts


def facts_to_json(facts: Mapping[str, FileFacts]) -> dict[str, Any]:
    return {band: [each.dtype, each.nodata, each.scale, each.offset] for band, each in facts.items()}


def image_plans(read: CompositeRead, bands: Sequence[str], scenes: Sequence[Mapping[str, Any]]) -> tuple[ImagePlan, ...]:
    """Bands, then expressions; `scenes` are `facts_to_json` of each scene. Raises SpecError where they cannot be put together."""
    plans = [_of_band(read, band, [scene[band] for scene in scenes if band in scene]) for band in bands]
    for name, text in (read.expressions or {}).items():
        is_mask = parse_expression(text).is_mask
        plans.append(_plan(read, name, np.dtype(bool if is_mask else np.float32), _MASK_NODATA if is_mask else None))
    return tuple(plans)


def _of_band(read: CompositeRead, band: str, said: Sequence[Sequence[Any]]) -> ImagePlan:
    if not said:
        return _plan(read, band, np.dtype(np.float32), None)
    dtype = np.result_type(*{np.dtype(one[0]) for one in said})
    if dtype.kind == "c":
        raise SpecError(f"{band} holds complex numbers, which have no order", remedy="leave it out of bands")
    scales = sorted({(one[2], one[3]) for one in said})
    if len(scales) > 1:
        raise SpecError(
            f"{band} is scaled in one way in some files and in another in others: {', '.join(f'x {a:g} + {b:g}' for a, b in scales[:4])}",
            remedy=f"write expressions: {{{band}: {band}}} in place of bands: expressions are of scaled values",
        )
    nodata = {one[1] for one in said}
    # Where pixels are mixed, one of them may come out as the number that stands for nothing.
    picked = read.resampling in PICKING and len(nodata) == 1 and len({one[0] for one in said}) == 1
    return _plan(read, band, dtype, nodata.pop() if picked else None, *scales[0])


def _plan(read: CompositeRead, name: str, layer: np.dtype[Any], nodata: float | None, scale: float = 1.0, offset: float = 0.0) -> ImagePlan:
    """Whole numbers need a nodata that no pixel has: without one they become floats, in which NaN is it."""
    dtype = dtype_of(read.method, layer)
    if dtype.kind in "iu" and not _fits(nodata, dtype):
        dtype = np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)
    if dtype.kind == "f" and dtype.itemsize < 4:
        dtype = np.dtype(np.float32)
    value = float("nan") if dtype.kind == "f" or nodata is None else nodata
    return ImagePlan(layer=layer, facts=ImageFacts(name=name, dtype=dtype.name, nodata=value, scale=scale, offset=offset))


def _fits(nodata: float | None, dtype: np.dtype[Any]) -> bool:
    limits = np.iinfo(dtype)
    return nodata is not None and nodata == nodata and nodata == int(nodata) and limits.min <= nodata <= limits.max
