"""The garbage collector of Python during a build."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def set_apart() -> Generator[None]:
    """For the block, the collector leaves alone what was there before it.

    A build makes enough objects for the collector to look at all of them once, of which Prefect's and pydantic's are four in five:
    0.3 s of 6 in which no thread runs. Afterwards they are looked at again as ever. Does nothing where the process has set objects
    apart itself, or another build of it has.
    """
    ours = gc.get_freeze_count() == 0
    if ours:
        gc.freeze()
    try:
        yield
    finally:
        if ours:
            gc.unfreeze()
