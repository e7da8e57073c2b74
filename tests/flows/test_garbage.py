"""The collector during a build: what was there stays apart for the block, and is looked at again afterwards."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from rasterloom.flows.garbage import set_apart


class Cycle:
    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def nothing_frozen() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


def dropped() -> weakref.ref[Cycle]:
    return weakref.ref(Cycle())


def test_what_was_there_is_collected_after_the_block_and_what_is_new_in_it() -> None:
    before = dropped()
    with set_apart():
        inside = dropped()
        gc.collect()
        assert before() is not None
        assert inside() is None
    gc.collect()
    assert before() is None
    assert gc.get_freeze_count() == 0


def test_what_a_process_has_set_apart_itself_stays_apart() -> None:
    gc.freeze()
    with set_apart(), set_apart():
        pass
    assert gc.get_freeze_count()
