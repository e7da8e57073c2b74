from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def crs_of_keys(keys: Mapping[int, Any]) -> tuple[int | None, str | None]:
    code = keys.get(3072, keys.get(2048))
    return (code, f"EPSG:{code}") if isinstance(code, int) and code not in (0, 32767) else (None, None)
