"""A header that is read with what another one taught is the header that reading it in full gives, whatever the bytes are."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rasterloom.errors import Unreadable
from rasterloom.raster import alike
from rasterloom.raster.alike import header_alike
from rasterloom.raster.header import Header, Level
from rasterloom.raster.tiff import Buffer, NeedMore, read_header
from tests.raster.test_fuzz import SEEDS, mutated

FIRST = 16 << 10


def known() -> dict[bytes, list[Any]]:
    return alike._KNOWN  # pyright: ignore[reportPrivateUsage]


@pytest.fixture(autouse=True)
def cold() -> None:
    known().clear()


def plain(value: object) -> object:
    if isinstance(value, Header | Level):
        return {name: plain(getattr(value, name)) for name in type(value).__dataclass_fields__}
    if isinstance(value, np.ndarray):
        return (str(value.dtype), value.tolist())
    if isinstance(value, tuple):
        return [plain(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return repr(value)


def outcome(data: bytes, size: int | None) -> object:
    """The header, or what was said instead of it."""
    try:
        return plain(read_header(Buffer(data[:FIRST], size)))
    except NeedMore as more:
        return ("more", more.start, more.end)
    except Unreadable as error:
        return (error.reason, str(error))


def both(taught_by: bytes, data: bytes, size: int | None) -> tuple[object, object]:
    """With what `taught_by` taught, and without."""
    known().clear()
    outcome(taught_by, len(taught_by))
    warm = outcome(data, size)
    known().clear()
    return warm, outcome(data, size)


def test_every_file_is_read_the_same_the_second_time(corpus: dict[str, Path]) -> None:
    alike_at_all = 0
    for path in corpus.values():
        data = path.read_bytes()
        for size in (len(data), None):
            warm, full = both(data, data, size)
            assert warm == full
        outcome(data, len(data))
        try:
            alike_at_all += header_alike(Buffer(data[:FIRST], len(data))) is not None
        except Unreadable:
            continue
    assert alike_at_all > len(corpus) // 4


def test_each_byte_of_a_header_counts(corpus: dict[str, Path]) -> None:
    """Those that are not compared are the tile tables, pixel scale and tiepoint, and what no header is made of."""
    data = corpus["cog_plain"].read_bytes()
    outcome(data, len(data))
    (layout,) = next(iter(known().values()))
    rng = random.Random(5)
    for at in range(min(layout.end, 2500)):
        changed = bytearray(data)
        changed[at] ^= rng.randrange(1, 256)
        warm, full = both(data, bytes(changed), len(data))
        assert warm == full, at


def test_mutants_are_read_as_if_nothing_had_been_before(corpus: dict[str, Path]) -> None:
    rng = random.Random(11)
    for name in SEEDS:
        data = corpus[name].read_bytes()
        for _ in range(25):
            changed = mutated(data, rng)
            warm, full = both(data, changed, rng.choice((len(changed), len(data), None)))
            assert warm == full


def test_what_is_remembered_is_bounded(corpus: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alike, "MOST_LAYOUTS", 3)
    for path in corpus.values():
        data = path.read_bytes()
        outcome(data, len(data))
        assert len(known()) <= 3
        assert all(len(twins) <= alike.MOST_TWINS for twins in known().values())
        assert all(len(twin.text) <= alike.MOST_BYTES for twins in known().values() for twin in twins)
