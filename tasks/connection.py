"""The client of Prefect's API, which the runs of one process hand on: it takes 25 ms to make one, most of them for certificates."""

from __future__ import annotations

import atexit
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, cast

from prefect.client.orchestration import SyncPrefectClient
from prefect.context import SyncClientContext
from prefect.filesystems import LocalFileSystem
from prefect.results import get_default_result_storage
from prefect.settings import PREFECT_API_URL, Settings, get_current_settings


@dataclass
class Connection:
    """A client, and the settings that it was made with."""

    context: SyncClientContext
    settings: Settings

    @property
    def client(self) -> SyncPrefectClient:
        return self.context.client

    @cached_property
    def records(self) -> Path | None:
        """Where a temporary server lets the records of tasks be, which nobody can change but this process; Prefect asks twice in every
        run. None where a server is named, or another storage than a folder: then Prefect asks."""
        if PREFECT_API_URL.value():
            return None
        storage: Any = cast(Any, get_default_result_storage)(_sync=True)  # a notebook has a loop in this thread
        return Path(storage.basepath) if isinstance(storage, LocalFileSystem) and storage.basepath else None

    def close(self) -> None:
        self.client.__exit__(None, None, None)


_idle: list[Connection] = []
"""At most one: that of the last run. Whoever takes it has it alone; a run beside it makes its own."""
_handed_on = Lock()


@contextmanager
def connection() -> Generator[Connection]:
    """For the block, the client of all of Prefect's calls in this thread: that of an outer block, of the run before, or a new one."""
    outer = SyncClientContext.get()
    if outer is not None:
        yield Connection(outer, get_current_settings())
        return
    made = _taken() or _made()
    try:
        with made.context:
            yield made
    except BaseException:
        made.close()
        raise
    _keep(made)


def _taken() -> Connection | None:
    with _handed_on:
        found = _idle.pop() if _idle else None
    if found is None or found.settings is get_current_settings():
        return found
    found.close()
    return None


def _keep(made: Connection) -> None:
    with _handed_on:
        spare = _idle.pop() if _idle else None
        _idle.append(made)
    if spare is not None:
        spare.close()


def _made() -> Connection:
    made = Connection(SyncClientContext(), get_current_settings())
    made.client.__enter__()  # once more than its contexts do, which would close it at their end
    return made


@atexit.register
def _close() -> None:
    while _idle:
        _idle.pop().close()
