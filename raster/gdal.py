"""What GDAL's Python needs to be told before it is used on arrays."""

from __future__ import annotations

import warnings
from functools import lru_cache


@lru_cache(maxsize=1)
def hide_false_warnings() -> None:
    """rasterio silences a warning about its own arrays, and where several threads do that at once Python lets it through."""
    from rasterio.errors import NotGeoreferencedWarning  # noqa: PLC0415  # GDAL takes a fifth of a second to load

    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning, module=r"rasterio\.(warp|features)")
