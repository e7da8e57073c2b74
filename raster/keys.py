"""The GeoKey directory of tags 34735, 34736 and 34737: key -> value (OGC GeoTIFF 1.1, section 7)."""

from __future__ import annotations

import struct

from rasterloom.errors import Unreadable

RASTER_TYPE = 1025
"""2 = PixelIsPoint."""

KeyValue = int | str | tuple[float, ...]


def read_keys(byte_order: str, directory: bytes, doubles: bytes, ascii_params: bytes) -> dict[int, KeyValue]:
    """GeoKey -> value. Raises `Unreadable` (`geokeys`) where the directory is not complete."""
    if len(directory) < 8:
        raise Unreadable(f"the GeoKey directory has {len(directory)} bytes, not at least 8", reason="geokeys")
    _version, _revision, _minor, count = struct.unpack_from(byte_order + "4H", directory)
    if len(directory) < 8 + 8 * count:
        raise Unreadable(f"the GeoKey directory has {len(directory)} bytes for {count} keys", reason="geokeys")
    values = struct.unpack_from(f"{byte_order}{len(doubles) // 8}d", doubles)
    keys: dict[int, KeyValue] = {}
    for key, place, length, value in struct.iter_unpack(byte_order + "4H", directory[8 : 8 + 8 * count]):
        if place == 0:
            keys[key] = value
        elif place == 34736 and value + length <= len(values):
            keys[key] = values[value : value + length]
        elif place == 34737 and value + length <= len(ascii_params):
            keys[key] = ascii_params[value : value + length].rstrip(b"|\0").decode("utf-8", "replace")
        elif place in (34736, 34737):
            raise Unreadable(f"GeoKey {key} points beyond its parameters ({value} + {length})", reason="geokeys")
    return keys
