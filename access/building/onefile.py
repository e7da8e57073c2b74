"""One file of a source, read as a build would read it, and told to a person."""

from __future__ import annotations

from rasterloom.access.archive.headers import fetch_headers
from rasterloom.access.archive.stores import Stores
from rasterloom.access.values import Asset, Failure
from rasterloom.errors import AccessDenied, RasterloomError, SpecError, Unreadable
from rasterloom.raster.header import Header
from rasterloom.specs.effort import AuthRef, Effort
from rasterloom.specs.wrong import shown

_HINTS = (
    ("urs.earthdata.nasa.gov", "auth: {provider: earthdata}, with ~/.netrc or EARTHDATA_TOKEN"),
    ("earthdatacloud.nasa.gov", "auth: {provider: earthdata}, with ~/.netrc or EARTHDATA_TOKEN"),
    (".blob.core.windows.net", "auth: {provider: planetary_computer} for files of the Planetary Computer, else {provider: azure}"),
    ("landsatlook.usgs.gov", "dataset: usgs/landsat-c2l2-sr takes them from S3, with auth: {provider: aws, requester_pays: true}"),
    ("s3://", "auth: {provider: aws, region: ..., requester_pays: true} where the bucket lets others pay"),
)
"""Part of an href -> what often opens it."""
_NO_GEOTIFF = "map the band to an asset that is a GeoTIFF, or leave it out"
_OF_THE_SPEC = {
    "band-index": "correct band_index_map",
    "forbidden-host": "read such files from a catalog in the same private network, or set build.allow_private_hosts",
    **dict.fromkeys(("not-a-tiff", "jpeg2000", "png", "jpeg", "netcdf", "hdf5", "grib", "gzip", "zip"), _NO_GEOTIFF),
}
"""Reasons of failures that no other file of the source will be without -> what to do."""
_REFUSALS = ("denied", "unauthenticated", "html", "xml", "json")
"""Reasons of failures; a page in place of a file asks for a login, or says why not."""


def are_there(stores: Stores) -> bool:
    """True; raises `AccessDenied`, `SpecError` or `Unavailable` where the credentials are not there."""
    stores.check()
    return True


def read_one(asset: Asset, stores: Stores, how: Effort) -> Header | Failure:
    """The header of one file, or what is wrong with that file. Raises as `fetch_headers`, and says what often opens such a file."""
    try:
        return fetch_headers([asset], stores, effort=how, first_range={}).results[0]
    except AccessDenied as error:
        raise AccessDenied(error.message, remedy=access_hint(asset.href, how.auth) or error.remedy) from None


def access_hint(href: str, auth: AuthRef) -> str:
    """What often opens such a file; an empty text where nothing is known."""
    hint = next((hint for part, hint in _HINTS if part in href), "")
    return hint if auth.provider == "anonymous" else ""


def error_of_file(failure: Failure, auth: AuthRef) -> RasterloomError:
    """What the failure of one file means for the build."""
    if failure.reason in _REFUSALS:
        remedy = (
            access_hint(failure.href, auth) or "check auth in the spec (provider, region, requester_pays), and the machine's credentials"
        )
        return AccessDenied(failure.message, remedy=remedy)
    if failure.reason in _OF_THE_SPEC:
        return SpecError(failure.message, remedy=_OF_THE_SPEC[failure.reason])
    return Unreadable(failure.message, reason=failure.reason, remedy="look at the file; a build puts such files into its failures table")


def header_text(header: Header) -> str:
    """What a person wants to know of a file."""
    parts = [
        f"{header.dtype}, {header.full.width} x {header.full.height} pixels in {_blocks(header)}",
        f"{header.samples_per_pixel} samples" if header.samples_per_pixel > 1 else "",
        shown(header.crs) if header.crs else "no CRS",
        f"nodata {header.nodata:g}" if header.nodata is not None else "no nodata",
        f"{len(header.overviews)} overview{'' if len(header.overviews) == 1 else 's'}",
    ]
    return ", ".join(part for part in parts if part)


def _blocks(header: Header) -> str:
    full = header.full
    if _is_striped(header):
        return f"strips of {full.tile_height} rows, no tiles"
    whole = full.tile_width >= full.width and full.tile_height >= full.height
    return "one tile" if whole else f"{full.tile_width} x {full.tile_height} tiles"


def _is_striped(header: Header) -> bool:
    return header.full.tile_width == header.full.width and header.full.tile_height < header.full.height


def is_handy(header: Header) -> bool:
    """Whether pixels can be read by area: a place on earth, and tiles."""
    return header.crs is not None and not _is_striped(header)
