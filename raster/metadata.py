"""GDAL's own tags: nodata, scale and offset."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from xml.etree import ElementTree

import numpy as np

from rasterloom.errors import Unreadable
from rasterloom.raster.fields import MAX_TEXT

Values = tuple[float, ...] | None
EXACT = 2.0**53
"""Whole numbers beyond are not all floats."""
_WHOLE = re.compile(r"[+-]?\d{1,20}")


@lru_cache(maxsize=1024)
def nodata_of(text: bytes | None, dtype: str) -> float | None:
    """Tag 42113 as a number; None where there is none, where it is no number, or where `dtype` cannot hold it (GDAL drops it too)."""
    if text is None:
        return None
    plain = text.rstrip(b"\0 ").decode("ascii", "replace").strip()
    try:
        value = float(plain.replace("1.#INF", "inf").replace("1.#QNAN", "nan"))
    except ValueError:
        return None
    if dtype in ("int64", "uint64") and abs(value) >= EXACT and _WHOLE.fullmatch(plain):
        return _whole(int(plain), dtype)
    if not _fits(value, dtype):
        return None
    return float(np.float32(value)) if dtype == "float32" else value


def _whole(value: int, dtype: str) -> int | None:
    info = np.iinfo(dtype)
    return value if info.min <= value <= info.max else None


def _fits(value: float, dtype: str) -> bool:
    if dtype.startswith(("float", "complex")):
        return dtype not in ("float16", "float32", "complex64") or not math.isfinite(value) or abs(value) <= _float_max(dtype)
    info = np.iinfo(dtype)
    return math.isfinite(value) and float(info.min) <= value <= float(info.max)


def _float_max(dtype: str) -> float:
    return float(np.finfo(dtype).max)


def scales_of(text: bytes | None, samples: int) -> tuple[Values, Values]:
    """Scales and offsets, one per sample, of the XML in tag 42112; (None, None) where it names neither.

    Refuses XML that is not well-formed only where it speaks of scale or offset, and never expands an entity.
    """
    if text is None or (b'"scale"' not in text and b'"offset"' not in text):
        return None, None
    if len(text) > MAX_TEXT or b"<!" in text.replace(b"<!--", b""):
        raise Unreadable("GDAL_METADATA holds a document type or is too long", reason="gdal-metadata")
    try:
        # No document type, so no entities: what is left of the known XML attacks is size, which the field's limit bounds.
        root = ElementTree.fromstring(text.rstrip(b"\0").decode("utf-8", "replace"))  # noqa: S314
    except ElementTree.ParseError as error:
        raise Unreadable(f"GDAL_METADATA is not well-formed XML: {error}", reason="gdal-metadata") from error
    return _by_role(root, "scale", 1.0, samples), _by_role(root, "offset", 0.0, samples)


def _by_role(root: ElementTree.Element, role: str, default: float, samples: int) -> Values:
    found: dict[int, float] = {}
    for item in root.iterfind("Item"):
        sample, value = item.get("sample", "0"), _number(item.text)
        if item.get("role") == role and sample.isdecimal() and int(sample[:6]) < samples and value is not None:
            found[int(sample[:6])] = value
    return tuple(found.get(sample, default) for sample in range(samples)) if found else None


def _number(text: str | None) -> float | None:
    try:
        return float((text or "").strip())
    except ValueError:
        return None
