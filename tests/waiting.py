"""Waiting for what other processes do, and what they wrote where it did not come.

Whatever a process does comes true some time later: tests ask again until it has, and never look once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

Found = TypeVar("Found")
LINES = 60
"""Shown of each log: its end."""
LONG = 300.0
"""Seconds, for a machine that is busy with other things; less than what ends the whole run (`faulthandler_timeout`)."""

_shown: list[Path] = []


def until(condition: Callable[[], Found | None], *, seconds: float = LONG, every: float = 0.2) -> Found:
    """What the condition gives as soon as it gives something."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {seconds} s, and there is still {found!r}"
        time.sleep(every)
    return found


@contextmanager
def logs_shown(folder: Path) -> Generator[None]:
    """For the block, the ends of the logs in `folder` are shown with every test that fails; and here, where the block itself does."""
    _shown.append(folder)
    try:
        yield
    except BaseException:
        for name, text in ends_of_logs():
            print(f"--- {name}\n{text}")
        raise
    finally:
        _shown.remove(folder)


def ends_of_logs() -> Iterator[tuple[str, str]]:
    """Name and last lines of each."""
    for folder in _shown:
        for path in sorted((*folder.glob("*.log"), *folder.glob("log"))):
            lines = path.read_text(errors="replace").splitlines()
            yield str(path), "\n".join(lines[-LINES:])
