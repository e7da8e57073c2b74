"""Small TIFFs that GDAL, tifffile and we ourselves write here and now, and a file that counts the requests for its header."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import tifffile
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.shutil import copy
from rasterio.transform import Affine, from_origin

from rasterloom.raster.header import Header
from rasterloom.raster.tiff import Buffer, NeedMore, read_header

warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)
GRID = from_origin(500000, 4100000, 10, 10)
KEYS = (34735, 3, 16, (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32610))
SCALE, TIE = (33550, 12, 3, (10.0, 10.0, 0.0)), (33922, 12, 6, (0.0, 0.0, 0.0, 500000.0, 4100000.0, 0.0))
CRS_TEXTS = {
    "laea": "+proj=laea +lat_0=45 +lon_0=-100 +datum=WGS84",
    "albers": "+proj=aea +lat_1=20 +lat_2=60 +lat_0=40 +lon_0=-96 +datum=NAD83",
    "sinusoidal_sphere": "+proj=sinu +lon_0=0 +R=6371007.181",
    "polar_lat_ts": "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=-20 +datum=WGS84",
    "polar_k": "+proj=stere +lat_0=90 +k=0.97 +lon_0=10 +datum=WGS84",
    "polar_south": "+proj=stere +lat_0=-90 +lat_ts=-71 +lon_0=10 +datum=WGS84",
    "lcc_2sp": "+proj=lcc +lat_1=25 +lat_2=60 +lat_0=42.5 +lon_0=-100 +R=6378137",
    "lcc_1sp": "+proj=lcc +lat_1=47 +lat_0=47 +lon_0=10 +k_0=0.9999 +x_0=1000 +ellps=bessel",
    "geostationary": "+proj=geos +h=35785831 +lon_0=-75 +sweep=x +ellps=GRS80",
    "utm_feet": "+proj=utm +zone=10 +datum=NAD83 +units=us-ft",
    "sphere": "+proj=longlat +R=6371229",
    "goode": "+proj=igh +lon_0=0 +datum=WGS84",
    "tmerc": "+proj=tmerc +lat_0=1 +lon_0=-123.5 +k=0.9997 +x_0=400000 +ellps=WGS84",
    "mercator_2sp": "+proj=merc +lat_ts=30 +lon_0=20 +datum=WGS84",
    "mercator_1sp": "+proj=merc +k=0.98 +lon_0=20 +datum=WGS84",
    "equirectangular": "+proj=eqc +lat_ts=30 +lon_0=10 +datum=WGS84",
    "oblique_stereographic": "+proj=sterea +lat_0=52 +lon_0=5 +k=0.9999 +ellps=bessel",
    "azimuthal_equidistant": "+proj=aeqd +lat_0=40 +lon_0=-100 +datum=WGS84",
    "polyconic": "+proj=poly +lat_0=0 +lon_0=-54 +ellps=GRS80",
    "robinson": "+proj=robin +lon_0=10 +datum=WGS84",
    "cylindrical_equal_area": "+proj=cea +lat_ts=30 +lon_0=5 +datum=WGS84",
    "equidistant_conic": "+proj=eqdc +lat_1=30 +lat_2=50 +lat_0=40 +lon_0=-96 +datum=NAD83",
    "cassini": "+proj=cass +lat_0=10 +lon_0=-61 +ellps=clrk66",
    "mollweide": "ESRI:54009",
    "esri_albers": "ESRI:102008",
    "oblique_mercator": "EPSG:3078",
    "state_plane_feet": "EPSG:2227",
    "paris_meridian": "EPSG:27572",
}


@dataclass
class CountingFile:
    """A file behind ranged requests: how many were made for its header, and how many bytes they took."""

    data: bytes
    known_size: bool = True
    requests: int = 0
    bytes: int = 0
    log: list[tuple[int, int]] = field(default_factory=list)

    def get(self, start: int, end: int) -> bytes:
        part = self.data[start:end]
        self.requests += 1
        self.bytes += len(part)
        self.log.append((start, end))
        return part

    def header(self, read: Callable[[Buffer], Header] = read_header, *, first: int = 16 << 10, most: int = 8) -> Header:
        buffer = Buffer(self.get(0, first), len(self.data) if self.known_size else None)
        while self.requests <= most:
            try:
                return read(buffer)
            except NeedMore as caught:
                more = caught
            assert more.start < more.end
            assert buffer.size is None or more.end <= buffer.size
            buffer.add(more.start, self.get(more.start, more.end))
        raise AssertionError(f"more than {most} requests: {self.log}")


def pixels(bands: int = 1, dtype: str = "uint16", side: tuple[int, int] = (200, 300)) -> np.ndarray:
    """Smooth and different in every band."""
    rows, cols = np.mgrid[: side[0], : side[1]]
    plain = np.stack([(rows * 3 + cols * (band + 1)) % 120 for band in range(bands)])
    return plain.astype(dtype)


def write(path: Path, array: np.ndarray, *, cog: dict[str, Any] | None = None, mask: np.ndarray | None = None, **profile: Any) -> Path:
    """`array` of shape (bands, height, width) as a GeoTIFF, or, with `cog` options, as a COG made from it."""
    options: dict[str, Any] = {"driver": "GTiff", "crs": "EPSG:32610", "transform": GRID, "tiled": True, "blockxsize": 64, "blockysize": 64}
    options |= {"count": array.shape[0], "height": array.shape[1], "width": array.shape[2], "dtype": array.dtype.name} | profile
    options = {key: value for key, value in options.items() if value is not None}
    target = path if cog is None else path.with_suffix(".src.tif")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"):
        with rasterio.open(target, "w", **options) as file:
            file.write(array)
            if mask is not None:
                file.write_mask(mask)
        if cog is not None:
            copy(target, path, driver="COG", **cog)
            target.unlink()
    return path


def _codecs(root: Path) -> None:
    for codec in ("none", "deflate", "lzw", "packbits", "zstd", "lzma", "lerc", "lerc_deflate", "lerc_zstd"):
        compress = None if codec == "none" else codec
        write(root / f"codec_{codec}.tif", pixels(), compress=compress)
        write(root / f"codec_{codec}_f32.tif", pixels(dtype="float32") / 7, compress=compress)
    for codec in ("deflate", "lzw", "zstd"):
        for order in ("LITTLE", "BIG"):
            for dtype, predictor in (("uint16", 2), ("uint8", 2), ("int32", 2), ("float32", 3), ("float64", 3), ("float32", 2)):
                name = f"p{predictor}_{codec}_{dtype}_{order}.tif"
                write(root / name, pixels(dtype=dtype), compress=codec, predictor=predictor, endianness=order)
        for interleave in ("pixel", "band"):
            write(root / f"p2_{codec}_{interleave}.tif", pixels(4, "uint8"), compress=codec, predictor=2, interleave=interleave)
            write(root / f"p3_{codec}_{interleave}.tif", pixels(3, "float32") / 3, compress=codec, predictor=3, interleave=interleave)
    lossless = {"compress": "webp", "webp_lossless": "YES", "interleave": "pixel"}
    write(root / "webp.tif", pixels(3, "uint8"), **lossless)
    write(root / "webp_alpha.tif", pixels(4, "uint8"), **lossless)


def _layouts(root: Path) -> None:
    for dtype in ("int8", "int16", "uint32", "int32", "uint64", "int64", "float64", "complex64", "complex128"):
        write(root / f"dtype_{dtype}.tif", pixels(dtype=dtype), compress="deflate")
    write(root / "nbits1.tif", (pixels(dtype="uint8") > 50).astype("uint8"), nbits=1, compress="deflate")
    write(root / "nbits4.tif", pixels(dtype="uint8") % 16, nbits=4)
    write(root / "nbits12.tif", pixels(), nbits=12)
    for order in ("LITTLE", "BIG"):
        for big in ("YES", "NO"):
            write(root / f"form_{order}_{big}.tif", pixels(2), endianness=order, bigtiff=big, compress="lzw")
    write(root / "strips.tif", pixels(), tiled=False, blockxsize=None, blockysize=16, compress="deflate")
    write(root / "strips_band.tif", pixels(3), tiled=False, blockxsize=None, blockysize=7, compress="lzw", interleave="band")
    write(root / "one_strip.tif", pixels(), tiled=False, blockxsize=None, blockysize=200, compress="deflate")
    write(root / "one_plain_strip.tif", pixels(), tiled=False, blockxsize=None, blockysize=200)
    write(root / "rectangular.tif", pixels(), blockxsize=128, blockysize=32)
    write(root / "tile_beyond_image.tif", pixels(side=(40, 50)), blockxsize=512, blockysize=512, compress="deflate")
    write(root / "planar.tif", pixels(4), interleave="band", compress="deflate")
    write(root / "chunky.tif", pixels(4), interleave="pixel", compress="deflate")
    write(root / "rgba.tif", pixels(4, "uint8"), photometric="RGB", alpha="YES", compress="deflate")
    sparse = {"width": 512, "height": 512, "count": 1, "dtype": "uint16", "crs": "EPSG:32610", "transform": GRID, "tiled": True}
    sparse |= {"blockxsize": 64, "blockysize": 64, "sparse_ok": "TRUE", "compress": "deflate"}
    for name, nodata in (("sparse", 7), ("sparse_zero", None)):
        with rasterio.open(root / f"{name}.tif", "w", nodata=nodata, **sparse) as file:
            file.write(pixels(side=(64, 64))[0], 1, window=rasterio.windows.Window(128, 192, 64, 64))


def _cogs(root: Path) -> None:
    side = (900, 1100)
    write(root / "cog_plain.tif", pixels(side=side), cog={"COMPRESS": "DEFLATE", "BLOCKSIZE": 128, "PREDICTOR": "2"})
    write(root / "cog_overview_codec.tif", pixels(side=side), cog={"COMPRESS": "DEFLATE", "BLOCKSIZE": 128, "OVERVIEW_COMPRESS": "LZW"})
    write(root / "cog_sparse.tif", np.pad(pixels(), ((0, 0), (0, 700), (0, 800))), nodata=0, cog={"BLOCKSIZE": 128, "SPARSE_OK": "TRUE"})
    mask = np.full(side, 255, "uint8")
    mask[:200, :300] = 0
    write(root / "cog_mask.tif", pixels(side=side), mask=mask, cog={"COMPRESS": "DEFLATE", "BLOCKSIZE": 128})
    jpeg = {"COMPRESS": "JPEG", "BLOCKSIZE": 128}
    write(root / "jpeg_mask.tif", pixels(3, "uint8", side), mask=mask, photometric="RGB", interleave="pixel", cog=jpeg)
    write(root / "jpeg_quality.tif", pixels(3, "uint8", side), photometric="RGB", cog=jpeg | {"OVERVIEW_QUALITY": "40"})
    write(root / "jpeg_rgb.tif", pixels(3, "uint8"), compress="jpeg", photometric="RGB", interleave="pixel")
    write(root / "jpeg_ycbcr.tif", pixels(3, "uint8"), compress="jpeg", photometric="YCBCR", interleave="pixel")
    write(root / "jpeg_grey.tif", pixels(1, "uint8"), compress="jpeg")
    write(root / "jpeg_four.tif", pixels(4, "uint8"), compress="jpeg", interleave="pixel")


def _places(root: Path) -> None:
    for name, nodata in (
        ("nan", float("nan")),
        ("minus_inf", float("-inf")),
        ("m9999", -9999),
        ("tenth", 0.1),
        ("max", -3.4028234663852886e38),
    ):
        write(root / f"nodata_{name}.tif", pixels(dtype="float32"), nodata=nodata)
    write(root / "nodata_65535.tif", pixels(), nodata=65535)
    write(root / "rotated.tif", pixels(), transform=GRID @ Affine.rotation(30))
    write(root / "south_up.tif", pixels(), transform=Affine(10, 0, 500000, 0, 10, 4093000))
    write(root / "not_square.tif", pixels(), transform=Affine(10, 0, 500000, 0, -20, 4100000))
    write(root / "no_georeference.tif", pixels(), crs=None, transform=None)
    write(root / "crs_alone.tif", pixels(), transform=None)
    write(root / "transform_alone.tif", pixels(), crs=None)
    corners = [GroundControlPoint(0, 0, 5e5, 41e5), GroundControlPoint(0, 300, 5.1e5, 41.1e5), GroundControlPoint(200, 0, 5e5, 40e5)]
    write(root / "gcps.tif", pixels(), transform=None, gcps=corners)
    write(root / "point.tif", pixels())
    write(root / "scaled.tif", pixels(2))
    with rasterio.open(root / "point.tif", "r+") as file:
        file.update_tags(AREA_OR_POINT="Point")
    with rasterio.open(root / "scaled.tif", "r+") as file:
        file.scales, file.offsets = (0.0001, 0.5), (-0.1, 3.0)
        file.update_tags(NOTE='"scale" & "offset"')
    for name, text in CRS_TEXTS.items():
        crs = CRS.from_user_input(text)
        write(
            root / f"crs_{name}.tif",
            pixels(side=(16, 16)),
            crs=crs,
            transform=from_origin(-100, 40, 0.01, 0.01) if crs.is_geographic else GRID,
        )


def _from_tifffile(root: Path) -> None:
    plain = {"tile": (64, 64), "metadata": None, "compression": "zlib"}
    image = pixels()[0]
    off = (33922, 12, 6, (100.0, 50.0, 0.0, 501000.0, 4099500.0, 0.0))
    matrix = (34264, 12, 16, (10.0, 0, 0, 500000.0, 0, -10.0, 0, 4100000.0, 0, 0, 0, 0, 0, 0, 0, 1.0))
    tifffile.imwrite(root / "tiepoint_inside.tif", image, extratags=[SCALE, off, KEYS], **plain)
    tifffile.imwrite(root / "matrix.tif", image, extratags=[matrix, KEYS], **plain)
    tifffile.imwrite(root / "float16.tif", image.astype("float16"), extratags=[SCALE, TIE, KEYS], **plain)
    tifffile.imwrite(root / "nodata_out_of_range.tif", image, extratags=[SCALE, TIE, KEYS, (42113, 2, 6, "-9999")], **plain)
    tifffile.imwrite(root / "unknown_type.tif", image, extratags=[SCALE, TIE, KEYS, (65000, 2, 6, "hello")], **plain)
    data = bytearray((root / "unknown_type.tif").read_bytes())
    at = data.index(struct.pack("<HH", 65000, 2))
    data[at + 2 : at + 4] = struct.pack("<H", 99)
    (root / "unknown_type.tif").write_bytes(data)


def write_corpus(root: Path) -> dict[str, Path]:
    """Name -> file, all of which GDAL opens."""
    for make in (_codecs, _layouts, _cogs, _places, _from_tifffile):
        make(root)
    return {path.stem: path for path in sorted(root.glob("*.tif"))}


def write_traps(root: Path) -> dict[str, Path]:
    """Name -> file: what makes pixels or masks go wrong in silence."""
    side = (300, 420)
    nan = pixels(dtype="float32", side=side)
    nan[0, 20:70, 30:200] = np.nan
    write(root / "trap_nan.tif", nan, nodata=float("nan"), compress="deflate", predictor=3, cog=None)
    write(root / "trap_nan_cog.tif", nan, nodata=float("nan"), cog={"COMPRESS": "ZSTD", "BLOCKSIZE": 128, "PREDICTOR": "YES"})
    for nodata in (-(2**63), 2**63 - 1, 2**53 + 1, -5):
        whole = pixels(dtype="int64", side=side)
        whole[0, :50] = nodata
        whole[0, 50:60] = nodata - 1 if nodata > 0 else nodata + 1
        told = (42113, 2, 0, str(nodata))  # rasterio would round it
        more = {"tile": (64, 64), "metadata": None, "compression": "zlib", "extratags": [SCALE, TIE, KEYS, told]}
        tifffile.imwrite(root / f"trap_int64_{nodata}.tif", whole[0], **more)
    for dtype, top in (("uint8", 255), ("uint16", 65535)):
        for interleave in ("pixel", "band"):
            rgba = pixels(4, dtype, side)
            rgba[3] = top
            rgba[3, 40:90, 10:300], rgba[3, 200:, :] = 0, 1
            name = f"trap_alpha_{dtype}_{interleave}.tif"
            write(root / name, rgba, photometric="RGB", alpha="YES", interleave=interleave, compress="deflate")
            grey = rgba[2:]
            write(root / f"trap_grey_{name}", grey, photometric="MINISBLACK", alpha="YES", interleave=interleave, compress="deflate")
    write(root / "trap_alpha_nodata.tif", pixels(4, "uint8", side), photometric="RGB", alpha="YES", nodata=7, compress="deflate")
    write(root / "trap_five.tif", pixels(5, "uint8", side), photometric="RGB", alpha="YES", compress="deflate")
    mask = np.full(side, 255, "uint8")
    mask[100:130, 17:301] = 0
    for name, more in (("nodata", {"nodata": 3}), ("planar", {"interleave": "band"}), ("big", {"endianness": "BIG", "bigtiff": "YES"})):
        write(root / f"trap_mask_{name}.tif", pixels(3, "uint8", side), mask=mask, compress="lzw", **more)
    write(root / "trap_mask_strips.tif", pixels(1, side=side), mask=mask, tiled=False, blockxsize=None, blockysize=16)
    for order in ("LITTLE", "BIG"):
        for interleave in ("pixel", "band"):
            for predictor, dtype in ((2, "int16"), (3, "float32"), (3, "float64"), (2, "float64"), (2, "uint64")):
                name = f"trap_{order}_{interleave}_{predictor}_{dtype}.tif"
                more = {"endianness": order, "interleave": interleave, "predictor": predictor, "compress": "zstd"}
                write(root / name, pixels(3, dtype, side), **more)
    write(root / "trap_planes.tif", pixels(64, "int8", (130, 150)), interleave="band", compress="deflate", predictor=2, bigtiff="YES")
    write(root / "trap_bits.tif", (pixels(3, "uint8", side) % 4).astype("uint8"), nbits=2, interleave="pixel", compress="packbits")
    return {path.stem: path for path in sorted(root.glob("trap_*.tif"))}


Field = tuple[int, Any]
"""Field type, and a tuple of numbers or the bytes as they stand."""
SIZES = {1: "B", 2: "c", 3: "H", 4: "I", 7: "c", 12: "d", 13: "I", 16: "Q", 18: "Q"}


def plain_fields() -> dict[int, Field]:
    """A directory of one 40 x 20 image of 16-bit samples in tiles of 16 x 16, at byte 0x1000 and on."""
    return {
        256: (3, (40,)),
        257: (3, (20,)),
        258: (3, (16,)),
        259: (3, (1,)),
        262: (3, (1,)),
        277: (3, (1,)),
        322: (3, (16,)),
        323: (3, (16,)),
        324: (4, tuple(0x1000 + 512 * at for at in range(6))),
        325: (4, (512,) * 6),
        339: (3, (1,)),
    }


def build(*directories: dict[int, Field] | list[tuple[int, Field]], order: str = "<", big: bool = False, size: int = 0x2000) -> bytes:
    """A TIFF of these directories, each followed by its values, padded to `size` bytes."""
    count, entry, pointer = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    width = 8 if big else 4
    data = bytearray(
        (b"II" if order == "<" else b"MM") + (struct.pack(order + "HHHQ", 43, 8, 0, 16) if big else struct.pack(order + "HI", 42, 8))
    )
    for number, directory in enumerate(directories):
        entries = list(directory.items()) if isinstance(directory, dict) else directory
        body, extra = b"", b""
        after = len(data) + struct.calcsize(count) + len(entries) * (4 + 2 * width) + width
        for tag, (kind, values) in entries:
            raw = values if isinstance(values, bytes) else struct.pack(f"{order}{len(values)}{SIZES[kind]}", *values)
            body += struct.pack(order + entry, tag, kind, len(values))
            body += raw.ljust(width, b"\0") if len(raw) <= width else struct.pack(order + pointer, after + len(extra))
            extra += b"" if len(raw) <= width else raw
        last = number == len(directories) - 1
        data += struct.pack(order + count, len(entries)) + body + struct.pack(order + pointer, 0 if last else after + len(extra)) + extra
    return bytes(data).ljust(size, b"\0")
