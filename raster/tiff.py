"""Header of a TIFF or BigTIFF from the bytes that were fetched so far: strict, bounded, both byte orders, all directories.

`read_header` either gives a `Header` that is whole, raises `NeedMore` with the range that completes it, or refuses with
`Unreadable`; it never loops and never reads a table larger than `fields` allows. Where files bend the standard, GDAL is the
rule: the blocks of a level are the blocks that GDAL shows.
"""

from __future__ import annotations

from rasterloom.raster import fields
from rasterloom.raster.alike import header_alike, remember
from rasterloom.raster.buffer import Buffer, NeedMore
from rasterloom.raster.geokeys import NOWHERE, affine_of, georeference
from rasterloom.raster.header import Header
from rasterloom.raster.ifd import Directories, Tags, read_directories
from rasterloom.raster.levels import Samples, codes_of, samples_of
from rasterloom.raster.metadata import nodata_of, scales_of
from rasterloom.raster.pyramid import Pyramid

__all__ = ["Buffer", "NeedMore", "header_of", "read_header"]


def read_header(buffer: Buffer) -> Header:
    """The header of the file that `buffer` holds in part.

    Raises `NeedMore` (one range over the holes that are known) or `Unreadable` with a stable `reason`.
    """
    header = header_alike(buffer)
    if header is None:
        found = read_directories(buffer)
        samples = samples_of(found.ifds[0])
        pyramid = Pyramid.of(found.ifds, samples, buffer.size)
        header = _header(found, samples, pyramid, buffer.size)
        remember(buffer, found, pyramid, header)
    return header


def header_of(found: Directories, size: int | None) -> Header:
    """The header that the tags of all directories make. `size` is the length of the file in bytes, where it is known."""
    samples = samples_of(found.ifds[0])
    return _header(found, samples, Pyramid.of(found.ifds, samples, size), size)


def _header(found: Directories, samples: Samples, pyramid: Pyramid, size: int | None) -> Header:
    tags = found.ifds[0]
    order = found.form.byte_order
    place = georeference(order, tags.get(fields.GEO_KEYS), tags.get(fields.GEO_DOUBLES), tags.get(fields.GEO_ASCII))
    transform = affine_of(
        tags.get(fields.PIXEL_SCALE), tags.get(fields.TIEPOINT), tags.get(fields.TRANSFORMATION), pixel_is_point=place.pixel_is_point
    )
    if transform is None and fields.TIEPOINT in tags:
        place = NOWHERE  # ground control points: the CRS is theirs, not the grid's
    scales, offsets = scales_of(tags.get(fields.GDAL_METADATA), samples.count)
    return Header(
        full=pyramid.full,
        overviews=pyramid.overviews,
        mask=pyramid.mask,
        overview_masks=pyramid.overview_masks,
        byte_order=order,
        bigtiff=found.form.bigtiff,
        dtype=samples.dtype,
        bits_per_sample=samples.bits,
        sample_format=samples.format,
        samples_per_pixel=samples.count,
        planar_configuration=samples.planar,
        photometric=samples.photometric,
        extra_samples=codes_of(tags, fields.EXTRA_SAMPLES),
        transform=transform,
        pixel_scale=tags.get(fields.PIXEL_SCALE),
        tiepoint=tags.get(fields.TIEPOINT),
        epsg=place.epsg,
        crs=place.crs,
        nodata=nodata_of(tags.get(fields.GDAL_NODATA), samples.dtype),
        scales=scales,
        offsets=offsets,
        jpeg_tables=tags.get(fields.JPEG_TABLES),
        lerc_parameters=codes_of(tags, fields.LERC_PARAMETERS),
        ycbcr_subsampling=_subsampling(tags, samples),
        header_end=found.end,
        size=size,
    )


def _subsampling(tags: Tags, samples: Samples) -> tuple[int, int] | None:
    if samples.photometric != 6:
        return None
    horizontal, *vertical = codes_of(tags, fields.YCBCR_SUBSAMPLING) or (2, 2)
    return horizontal, vertical[0] if vertical else horizontal
