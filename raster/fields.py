"""TIFF tags that a header needs: numbers, field types, and how much of each is read at the most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SUBFILE_TYPE = 254
WIDTH = 256
HEIGHT = 257
BITS_PER_SAMPLE = 258
COMPRESSION = 259
PHOTOMETRIC = 262
STRIP_OFFSETS = 273
SAMPLES_PER_PIXEL = 277
ROWS_PER_STRIP = 278
STRIP_BYTE_COUNTS = 279
PLANAR_CONFIGURATION = 284
PREDICTOR = 317
TILE_WIDTH = 322
TILE_HEIGHT = 323
TILE_OFFSETS = 324
TILE_BYTE_COUNTS = 325
SUB_IFDS = 330
EXTRA_SAMPLES = 338
SAMPLE_FORMAT = 339
JPEG_TABLES = 347
YCBCR_SUBSAMPLING = 530
PIXEL_SCALE = 33550
TIEPOINT = 33922
TRANSFORMATION = 34264
GEO_KEYS = 34735
GEO_DOUBLES = 34736
GEO_ASCII = 34737
GDAL_METADATA = 42112
GDAL_NODATA = 42113
LERC_PARAMETERS = 50674

MAX_TILES = 4_194_304
"""Entries of one tile table."""
MAX_ALL_TILES = 2 * MAX_TILES
"""Entries of all tile tables of one file: a pyramid has 4/3 of its base, a mask as much again."""
MAX_TEXT = 1 << 20
MAX_SAMPLES = 4096

TYPE_SIZES: Mapping[int, int] = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a field type. TIFF 6.0: readers should skip fields of an unexpected type, so any other is skipped."""

FORMATS: Mapping[int, str] = {1: "u1", 3: "u2", 4: "u4", 12: "f8", 13: "u4", 16: "u8", 18: "u8"}
"""numpy formats of the field types that we read as arrays, without the byte order."""

_UNSIGNED = frozenset({1, 3, 4, 16})
_POINTER = frozenset({4, 13, 16, 18})
_OPAQUE = frozenset({1, 2, 7})


@dataclass(frozen=True, slots=True)
class Rule:
    """What a tag may look like."""

    name: str
    types: frozenset[int]
    max_count: int
    opaque: bool = False
    """True = kept as the bytes that stand in the file."""
    table: bool = False
    """True = kept as an array; False (and not opaque) = an int or a tuple of ints or floats."""


def _one(name: str) -> Rule:
    return Rule(name, _UNSIGNED, 1)


RULES: Mapping[int, Rule] = {
    SUBFILE_TYPE: _one("NewSubfileType"),
    WIDTH: _one("ImageWidth"),
    HEIGHT: _one("ImageLength"),
    BITS_PER_SAMPLE: Rule("BitsPerSample", _UNSIGNED, MAX_SAMPLES),
    COMPRESSION: _one("Compression"),
    PHOTOMETRIC: _one("PhotometricInterpretation"),
    STRIP_OFFSETS: Rule("StripOffsets", _UNSIGNED, MAX_TILES, table=True),
    SAMPLES_PER_PIXEL: _one("SamplesPerPixel"),
    ROWS_PER_STRIP: _one("RowsPerStrip"),
    STRIP_BYTE_COUNTS: Rule("StripByteCounts", _UNSIGNED, MAX_TILES, table=True),
    PLANAR_CONFIGURATION: _one("PlanarConfiguration"),
    PREDICTOR: _one("Predictor"),
    TILE_WIDTH: _one("TileWidth"),
    TILE_HEIGHT: _one("TileLength"),
    TILE_OFFSETS: Rule("TileOffsets", _UNSIGNED, MAX_TILES, table=True),
    TILE_BYTE_COUNTS: Rule("TileByteCounts", _UNSIGNED, MAX_TILES, table=True),
    SUB_IFDS: Rule("SubIFDs", _POINTER, 64),
    EXTRA_SAMPLES: Rule("ExtraSamples", _UNSIGNED, MAX_SAMPLES),
    SAMPLE_FORMAT: Rule("SampleFormat", _UNSIGNED, MAX_SAMPLES),
    JPEG_TABLES: Rule("JPEGTables", _OPAQUE, 1 << 16, opaque=True),
    YCBCR_SUBSAMPLING: Rule("YCbCrSubSampling", _UNSIGNED, 2),
    PIXEL_SCALE: Rule("ModelPixelScale", frozenset({12}), 64),
    TIEPOINT: Rule("ModelTiepoint", frozenset({12}), 6 * 10_000),
    TRANSFORMATION: Rule("ModelTransformation", frozenset({12}), 64),
    GEO_KEYS: Rule("GeoKeyDirectory", frozenset({3}), 4 * 4096, opaque=True),
    GEO_DOUBLES: Rule("GeoDoubleParams", frozenset({12}), 4096, opaque=True),
    GEO_ASCII: Rule("GeoAsciiParams", frozenset({2}), MAX_TEXT, opaque=True),
    GDAL_METADATA: Rule("GDAL_METADATA", _OPAQUE, MAX_TEXT, opaque=True),
    GDAL_NODATA: Rule("GDAL_NODATA", frozenset({2}), 4096, opaque=True),
    LERC_PARAMETERS: Rule("LercParameters", _UNSIGNED, 64),
}
_FIRST_ONLY = frozenset({SUB_IFDS, PIXEL_SCALE, TIEPOINT, TRANSFORMATION, GEO_KEYS, GEO_DOUBLES, GEO_ASCII, GDAL_METADATA, GDAL_NODATA})
"""Tags that are read of the first directory alone."""
LATER_RULES: Mapping[int, Rule] = {tag: rule for tag, rule in RULES.items() if tag not in _FIRST_ONLY}
NUMBERS = frozenset(tag for tag, rule in RULES.items() if rule.max_count == 1) | {BITS_PER_SAMPLE, SAMPLE_FORMAT}
"""Tags of which a single value is kept as an int."""
