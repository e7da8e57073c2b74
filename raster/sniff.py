"""What a body is that does not begin like a TIFF: an error page, another format, nothing."""

from __future__ import annotations

from rasterloom.errors import Unreadable

_MAGIC = (
    ("jpeg2000", b"\x00\x00\x00\x0cjP  "),
    ("jpeg2000", b"\xff\x4f\xff\x51"),
    ("png", b"\x89PNG"),
    ("jpeg", b"\xff\xd8\xff"),
    ("netcdf", b"CDF\x01"),
    ("netcdf", b"CDF\x02"),
    ("netcdf", b"CDF\x05"),
    ("hdf5", b"\x89HDF\r\n\x1a\n"),
    ("grib", b"GRIB"),
    ("gzip", b"\x1f\x8b"),
    ("zip", b"PK\x03\x04"),
)
_MARKUP = (("html", b"<!doctype html"), ("html", b"<html"), ("html", b"<head"), ("xml", b"<"), ("json", b"{"), ("json", b"["))
_REMEDIES = {
    "html": "the server answered with a web page: check the href and the credentials",
    "xml": "the server answered with a document, often an error message: check the href and the credentials",
    "json": "the server answered with a document, often an error message: check the href and the credentials",
    "empty": "fetch the file again",
}


def not_a_tiff(start: bytes) -> Unreadable:
    """The error for a body that begins with `start` and is no TIFF; its `reason` names the format where that can be told."""
    reason = _format_of(start)
    message = "the file is empty" if reason == "empty" else f"the file begins with {bytes(start[:16])!r} ({reason}), not with a TIFF header"
    return Unreadable(message, reason=reason, remedy=_REMEDIES.get(reason, "leave the band out, or name an asset that is a GeoTIFF"))


def _format_of(start: bytes) -> str:
    if not start:
        return "empty"
    for reason, magic in _MAGIC:
        if start.startswith(magic):
            return reason
    text = start[:256].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return next((reason for reason, prefix in _MARKUP if text.startswith(prefix)), "not-a-tiff")
