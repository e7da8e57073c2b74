"""What GDAL's Python needs before it is used, on arrays and by several threads."""

from __future__ import annotations

import re
import warnings
from functools import lru_cache
from importlib import import_module
from threading import Lock

_LOADING = Lock()
_OF_ARRAYS = r"rasterio\.(warp|features)"
"""The modules in whose name the warning is given."""


@lru_cache(maxsize=1)
def load_gdal() -> None:
    """Import rasterio, which takes a fifth of a second and which a build does not need.

    By one thread: its compiled modules import each other in a circle, and another that comes meanwhile finds one of them half made
    (`ImportError: cannot import name guard_transform`). Whoever imports a part of it calls this before.
    """
    with _LOADING:
        for name in ("crs", "features", "shutil", "warp"):
            import_module(f"rasterio.{name}")


def hide_false_warnings() -> None:
    """rasterio silences a warning about its own arrays, and where several threads do that at once Python lets it through.

    Before each use, as whoever leaves a `warnings.catch_warnings` takes our filter away, and a filter set later comes before it.
    """
    load_gdal()
    from rasterio.errors import NotGeoreferencedWarning  # noqa: PLC0415

    ours = ("ignore", None, NotGeoreferencedWarning, re.compile(_OF_ARRAYS), 0)
    for rule in warnings.filters:
        if rule == ours:
            return
        if rule[0] != "ignore" and issubclass(NotGeoreferencedWarning, rule[2]):
            break
    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning, module=_OF_ARRAYS)
