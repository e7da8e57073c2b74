"""What is no header is refused with its own reason, before anything is read or allocated on its word."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

from rasterloom.errors import Unreadable
from rasterloom.raster.tiff import Buffer, NeedMore, read_header

Fields = dict[int, tuple[int, Any]]
Make = Callable[..., bytes]
NAN = float("nan")


def reason_of(data: bytes, size: int | None = None) -> str:
    with pytest.raises(Unreadable) as caught:
        read_header(Buffer(data, len(data) if size is None else size))
    assert caught.value.message
    return caught.value.reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty"),
        (b"<html>404</html>" * 9, "html"),
        (b"\xef\xbb\xbf \n<!DOCTYPE html><p>sign in", "html"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "xml"),
        (b'{"code": "ExpiredToken", "message": "sign in"}', "json"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(20), "jpeg2000"),
        (b"\xff\x4f\xff\x51" + bytes(20), "jpeg2000"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "png"),
        (b"\xff\xd8\xff\xe0" + bytes(20), "jpeg"),
        (b"CDF\x01" + bytes(20), "netcdf"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "hdf5"),
        (b"GRIB" + bytes(20), "grib"),
        (b"\x1f\x8b\x08" + bytes(20), "gzip"),
        (b"PK\x03\x04" + bytes(20), "zip"),
        (b"hello, world, hello", "not-a-tiff"),
        (b"II*", "not-a-tiff"),
        (b"XX*\0" + bytes(20), "not-a-tiff"),
        (b"II\x2c\0" + bytes(20), "not-a-tiff"),
        (struct.pack("<2sHHHQ", b"II", 43, 4, 0, 16) + bytes(9), "not-a-tiff"),
        (b"II*\0\0\0\0\0" + bytes(20), "no-image"),
        (b"II*\0\xff\xff\0\0" + bytes(20), "truncated"),
    ],
)
def test_a_body_that_is_no_tiff_says_what_it_is(body: bytes, reason: str) -> None:
    assert reason_of(body) == reason


@pytest.mark.parametrize(
    ("tag", "field", "reason"),
    [
        (256, None, "missing-tag"),
        (257, None, "missing-tag"),
        (323, None, "missing-tag"),
        (324, None, "missing-tag"),
        (325, None, "missing-tag"),
        (256, (3, (0,)), "image-size"),
        (257, (4, (1 << 31,)), "image-size"),
        (256, (12, (40.0,)), "field-type"),
        (256, (3, (40, 40)), "value-count"),
        (322, (3, (0,)), "tile-size"),
        (322, (3, (17,)), "tile-size"),
        (322, (4, (65_552,)), "tile-size"),
        (277, (3, (0,)), "samples"),
        (277, (3, (5000,)), "samples"),
        (284, (3, (3,)), "samples"),
        (258, (3, (5, 6, 5)), "mixed-samples"),
        (258, (3, (0,)), "sample-format"),
        (258, (3, (128,)), "sample-format"),
        (339, (3, (9,)), "sample-format"),
        (324, (4, (4096,) * 5), "tile-count"),
        (325, (4, (512,) * 7), "tile-count"),
        (325, (4, (512,) * 5 + (70_000,)), "tile-bytes"),
        (324, (4, (4096,) * 5 + (0,)), "tile-offset"),
        (325, (4, (512,) * 5 + (0,)), "tile-offset"),
        (324, (4, (4096,) * 5 + (0x2000 - 511,)), "truncated"),
        (324, (16, (4096,) * 5 + (1 << 63,)), "truncated"),
        (324, (16, (4096,) * 5 + ((1 << 64) - 1,)), "truncated"),
        (259, (4, (1 << 31,)), "code"),
        (317, (16, (1 << 62,)), "code"),
        (262, (4, (1 << 31,)), "code"),
        (338, (4, (1 << 31,)), "code"),
        (50674, (16, (4, 1 << 62)), "code"),
        (33550, (12, (NAN, 10.0, 0.0)), "transform"),
        (33550, (12, (0.0, 10.0, 0.0)), "transform"),
        (33550, (4, (10, 10, 0)), "field-type"),
        (34735, (3, (1, 1, 0)), "geokeys"),
        (34735, (3, (1, 1, 0, 2, 1024, 0, 1, 1)), "geokeys"),
        (34735, (3, (1, 1, 0, 1, 3072, 34736, 1, 9)), "geokeys"),
        (42112, (2, b'<!DOCTYPE a [<!ENTITY b "c">]><GDALMetadata><Item role="scale">&b;</Item></GDALMetadata>'), "gdal-metadata"),
        (42112, (2, b'<GDALMetadata><Item role="scale">'), "gdal-metadata"),
    ],
)
def test_a_broken_field_is_named(plain: Fields, make: Make, tag: int, field: tuple[int, Any] | None, reason: str) -> None:
    plain[33922] = (12, (0.0, 0.0, 0.0, 5.0, 6.0, 0.0))
    plain[33550] = (12, (10.0, 10.0, 0.0))
    read_header(Buffer(make(plain), 0x2000))  # it is the change that is refused
    if field is None:
        del plain[tag]
    else:
        plain[tag] = field
    for order in "<>":
        for big in (False, True):
            assert reason_of(make(plain, order=order, big=big)) == reason


def test_the_message_has_value_limit_and_name(plain: Fields, make: Make) -> None:
    plain[322] = (3, (17,))
    with pytest.raises(Unreadable, match=r"TileWidth 17 .*16.*65536"):
        read_header(Buffer(make(plain), 0x2000))


def test_a_tag_that_stands_twice(plain: Fields, make: Make) -> None:
    assert reason_of(make([*plain.items(), (256, (3, (40,)))])) == "duplicate-tag"
    assert reason_of(make([*plain.items(), (324, plain[324])])) == "duplicate-tag"


@pytest.mark.parametrize("entries", [0, 1025, 65535])
def test_entry_counts_out_of_bounds(entries: int) -> None:
    assert reason_of(b"II*\0\x08\0\0\0" + struct.pack("<H", entries) + bytes(40_000)) == "entry-count"


def test_directories_that_lead_to_each_other(plain: Fields, make: Make) -> None:
    data = bytearray(make(plain, plain))
    second = len(make(plain, size=0))
    end = second + 2 + 12 * len(plain)
    assert data[end : end + 4] == bytes(4)
    for target in (8, second):
        data[end : end + 4] = struct.pack("<I", target)
        assert reason_of(bytes(data)) == "ifd-cycle"
    plain[330] = (13, (8,))
    assert reason_of(make(plain)) == "ifd-cycle"


def test_too_many_directories(plain: Fields, make: Make) -> None:
    assert len(read_header(Buffer(make(plain, *[plain | {254: (4, (1,))}] * 63, size=20_000), 20_000)).overviews) == 63
    assert reason_of(make(*[plain] * 65, size=20_000)) == "too-many-ifds"


def test_a_table_is_refused_by_its_count_before_it_is_asked_for(plain: Fields, make: Make) -> None:
    """Not one more byte is fetched for a count beyond the limit, whatever the size of the file is said to be."""
    data = bytearray(make(plain))
    at = data.index(struct.pack("<HHI", 324, 4, 6)) + 4
    for count in (4_194_305, 0xFFFFFFFF):
        data[at : at + 4] = struct.pack("<I", count)
        assert reason_of(bytes(data), size=1 << 40) == "value-count"


def test_many_large_tables_are_too_large_together(plain: Fields, make: Make) -> None:
    """Each directory alone is within the limit of tiles, and all share one table: three of 4 million are refused."""
    side, tiles = 32_768, 2048 * 2048
    shared = {256: (4, (side,)), 257: (4, (side,)), 254: (4, (1,))}
    data = bytearray(make(*[plain | shared] * 3, size=0x2000))
    for tag in (324, 325):
        for at in range(len(data)):
            if data[at : at + 8] == struct.pack("<HHI", tag, 4, 6):
                data[at + 4 : at + 12] = struct.pack("<II", tiles, 0x2000)
    assert reason_of(bytes(data) + bytes(4 * tiles)) == "too-large"


def test_unknown_sizes_leave_only_what_can_be_known(plain: Fields, make: Make) -> None:
    """Without the file's size a tile anywhere is possible; a table far away is asked for."""
    assert read_header(Buffer(make(plain)[:1024], None)).size is None
    plain[324] = (16, (1 << 63,) * 6)
    with pytest.raises(Unreadable, match="beyond"):
        read_header(Buffer(make(plain), None))
    with pytest.raises(NeedMore) as caught:
        read_header(Buffer(b"II*\0" + struct.pack("<I", 1 << 31) + bytes(100), None))
    assert caught.value.start == 1 << 31
    assert caught.value.end - caught.value.start < 1 << 16


def test_band_index_of_a_band_that_is_not_there(plain: Fields, make: Make) -> None:
    header = read_header(Buffer(make(plain), 0x2000))
    for index in (-1, 1):
        with pytest.raises(Unreadable, match="band_index") as caught:
            header.band_tiles(index)
        assert caught.value.reason == "band-index"
