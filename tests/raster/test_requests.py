"""What a header costs in requests and bytes: the holes that are known, at once, and not the pixels between them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

from rasterloom.raster.tiff import Buffer, NeedMore, read_header
from tests.raster.corpus import CountingFile

Fields = dict[int, tuple[int, Any]]
Make = Callable[..., bytes]
END = 16 << 20


def level(side: int, kind: int, *, mask: bool = False) -> Fields:
    tiles = (-(-side // 512)) ** 2
    fields: Fields = {254: (4, (kind,)), 256: (4, (side,)), 257: (4, (side,)), 258: (3, (1 if mask else 16,)), 259: (3, (8,))}
    fields |= {277: (3, (1,)), 322: (3, (512,)), 323: (3, (512,)), 324: (16, (END - 8,) * tiles), 325: (4, (8,) * tiles)}
    return fields


@pytest.mark.parametrize("side", [512 * 30, 512 * 64, 512 * 150])
@pytest.mark.parametrize("masked", [False, True])
def test_a_cog_of_any_size_needs_two_requests(make: Make, side: int, masked: bool) -> None:
    """Directories with their tables one after the other, the mask right behind its image, as GDAL's COG driver writes them."""
    base = level(side, 0)
    if masked:
        base[270] = (2, b"MASK_INTERLEAVED_WITH_IMAGERY=YES\0")
    directories = [dict(sorted(base.items()))]
    for at, width in enumerate([side, *(side >> step for step in range(1, 8) if side >> step >= 512)]):
        directories += [level(width, 1)] if at else []
        directories += [level(width, 5 if at else 4, mask=True)] if masked else []
    file = CountingFile(make(*directories, size=END))
    header = file.header()
    assert file.requests <= 2
    assert (header.mask is not None) == masked
    assert len(header.overviews) >= 3
    assert file.bytes < 1.5 * header.header_end + (64 << 10)


def test_the_pixels_between_two_holes_are_not_fetched(make: Make) -> None:
    """A table at the front and a directory at the end: one after the other, instead of all that lies between."""
    data = bytearray(make(level(512 * 64, 0), size=END))
    front = make(level(512 * 64, 0), size=0)
    data[END - 4096 :] = make(level(512, 1), size=4096)
    at = 8 + 2 + 12 * 10
    data[at : at + 4] = struct.pack("<I", END - 4096 + 8)
    inner = END - 4096 + 8 + 2
    for entry in range(10):  # the second directory has no values outside itself but its offset, which is made inline here
        place = inner + 12 * entry
        if struct.unpack_from("<H", data, place) == (324,):
            data[place : place + 12] = struct.pack("<HHII", 324, 4, 1, 8)
    file = CountingFile(bytes(data))
    header = file.header()
    assert len(header.overviews) == 1
    assert file.requests <= 3
    assert file.bytes < 2 * len(front) + (64 << 10)


def test_a_first_range_that_cuts_the_file_header(make: Make, plain: Fields) -> None:
    data = make(plain)
    for cut in range(17):
        file = CountingFile(data)
        assert file.header(first=cut).full.width == 40
        assert file.requests <= 2


def test_a_directory_at_the_end(make: Make, plain: Fields) -> None:
    front = make(plain, size=0)
    far = (1 << 20) - len(front)
    data = bytearray(1 << 20)
    data[:8] = b"II*\0" + struct.pack("<I", far + 8)
    moved = bytearray(front)
    for entry in range(len(plain)):
        at = 10 + 12 * entry
        tag, kind, count, value = struct.unpack_from("<HHII", moved, at)
        if count * {3: 2, 4: 4}[kind] > 4:
            moved[at : at + 12] = struct.pack("<HHII", tag, kind, count, value + far)
    data[far:] = moved
    file = CountingFile(bytes(data))
    assert file.header().full.tile_offsets.tolist() == list(plain[324][1])
    assert file.requests == 2
    assert file.header().header_end == 1 << 20


def test_a_file_shorter_than_the_first_range_is_one_request(make: Make, plain: Fields) -> None:
    file = CountingFile(make(plain))
    file.header()
    assert (file.requests, file.log) == (1, [(0, 16384)])


def test_a_file_cut_short_is_truncated_and_asks_for_nothing(make: Make) -> None:
    data = make(level(512 * 64, 0), size=END)
    with pytest.raises(NeedMore):
        read_header(Buffer(data[:16384], END))
    for size in (100, 16384, 20_000):
        file = CountingFile(data[:size])
        with pytest.raises(Exception, match="beyond") as caught:
            file.header()
        assert getattr(caught.value, "reason", "") == "truncated"
        assert file.requests == 1


def test_bytes_that_overlap_and_touch_become_one_part() -> None:
    buffer = Buffer(b"0123", 12)
    assert buffer.find(2, 4) is None
    assert buffer.missing_from(2) == 4
    buffer.add(8, b"89")
    buffer.add(3, b"3456")
    buffer.add(7, b"7")
    place = buffer.find(1, 7)
    assert place is not None
    data, at = place
    assert data[at : at + 7] == b"1234567"
