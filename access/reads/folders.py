"""Folders that kinds write into with whatever library they like, and their way into the workspace, durable and with checksums."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rasterloom.access.reads.job import PartRef, StoredFile
from rasterloom.access.workspace.disk import disk_errors, sync_file
from rasterloom.access.workspace.files import Workspace
from rasterloom.errors import Unavailable

_PIECE = 1 << 20
_AT_ONCE = 8
"""Files that are moved at once."""
T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def staged(workspace: Workspace, home: str) -> Generator[Path]:
    """An empty folder for the files of `home`: on a local disk their very place, else a temporary one. `keep` makes them stay.

    Where the block raises, what was written goes.
    """
    local = workspace.local_path(home)
    if local is None:
        with tempfile.TemporaryDirectory(prefix="rasterloom-") as folder:
            yield Path(folder)
        return
    with disk_errors(local):
        local.mkdir(parents=True)
        try:
            yield local
        except BaseException:
            shutil.rmtree(local, ignore_errors=True)
            raise


def keep(workspace: Workspace, home: str, folder: Path) -> tuple[StoredFile, ...]:
    """What stands in a folder of `staged`, in the workspace and durable, by path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    is_there = workspace.local_path(home) is not None

    def move(path: Path) -> StoredFile:
        stored = _described(folder, path)
        if is_there:
            sync_file(path)
        else:
            upload(workspace, f"{home}/{stored.path}", path)
        return stored

    with disk_errors(folder):
        stored = tuple(at_once(move, paths))
    workspace.sync(home)
    return stored


@dataclass(frozen=True, slots=True)
class PartFiles:
    """The files of a unit that was made."""

    workspace: Workspace
    ref: PartRef
    scratch: Path
    """Where copies of an object store's files go; need not exist."""

    def path(self, name: str) -> Path:
        """Raises Unavailable where it is gone."""
        local = self.workspace.local_path(f"{self.ref.home}/{name}")
        if local is not None:
            return local
        path = self.scratch / name
        if not path.exists():
            data = self.workspace.read(f"{self.ref.home}/{name}")
            if data is None:
                raise Unavailable(f"{self.ref.home}/{name} is gone", remedy="run again: it is made anew")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return path


def at_once(call: Callable[[T], R], values: Iterable[T]) -> list[R]:
    """`call` of every value, in their order, by a few threads; the first error, where there is one."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(call, values))


def _described(folder: Path, path: Path) -> StoredFile:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return StoredFile(path=path.relative_to(folder).as_posix(), size=os.stat(path).st_size, sha256=digest.hexdigest())


def upload(workspace: Workspace, key: str, path: Path) -> None:
    """A file of this machine under a key."""
    with path.open("rb") as source, workspace.open_writer(key) as target:
        pieces: Any = iter(lambda: source.read(_PIECE), b"")
        for piece in pieces:
            target.write(piece)
