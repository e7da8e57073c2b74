"""What Python programs have at hand, as the text of a spec says it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, cast

DEEPEST = 40
"""Levels that are looked into: a spec has fewer, and a mapping may contain itself."""


def plain(value: Any, depth: int = DEEPEST) -> Any:
    """Days and instants as ISO text (without a zone: UTC), paths as text, shapes as GeoJSON, arrays and numbers of numpy as lists and
    numbers. Anything else is left as it is, for the models to refuse."""
    if value is None or depth == 0 or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {key: plain(inner, depth - 1) for key, inner in cast(Mapping[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        return [plain(inner, depth - 1) for inner in cast(list[Any], value)]
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, os.PathLike):
        return os.fspath(cast("os.PathLike[str]", value))
    if hasattr(value, "__geo_interface__"):
        return plain(value.__geo_interface__, depth - 1)
    return plain(value.tolist(), depth - 1) if hasattr(value, "tolist") else value
