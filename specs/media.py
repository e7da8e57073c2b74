"""What an asset of a STAC item says it is: by its media type, and by the end of its name where it says none."""

from __future__ import annotations

_JPEG2000 = ("image/jp2", "image/jpx", "image/jpm", "image/x-jp2")
_GEOTIFF = ("image/tiff", "image/vnd.stac.geotiff", "image/geotiff", "application/geotiff", "image/x.geotiff")


def is_jpeg2000(media_type: object, href: str) -> bool:
    return _essence(media_type) in _JPEG2000 or _path(href).endswith((".jp2", ".j2k"))


def may_be_geotiff(media_type: object, href: str) -> bool:
    """Whether nothing speaks against it. Providers that name no type exist, and so do files without an ending."""
    kind = _essence(media_type)
    return not is_jpeg2000(media_type, href) and (not kind or kind.startswith(_GEOTIFF) or kind == "application/octet-stream")


def is_geotiff(media_type: object, href: str) -> bool:
    """Whether the type, or without one the name, says so."""
    kind = _essence(media_type)
    return kind.startswith(_GEOTIFF) if kind else _path(href).endswith((".tif", ".tiff"))


def _essence(media_type: object) -> str:
    return media_type.partition(";")[0].strip().lower() if isinstance(media_type, str) else ""


def _path(href: str) -> str:
    return href.partition("?")[0].lower()
