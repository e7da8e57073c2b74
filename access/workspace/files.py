"""What a workspace can do: one small interface over a directory or an object-store prefix.

Keys are relative POSIX paths. They are checked once, here, and can never leave the root.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from pyarrow import fs

from rasterloom.errors import RasterloomError, SpecError

_PART = re.compile(r"[^\x00-\x1f/\\]+")


class Occupied(RasterloomError):
    """A create-only write found the key taken. Says nothing about who wrote it: read it back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One stored file."""

    key: str
    size: int
    """Bytes."""
    modified: datetime
    """UTC."""


class Workspace(ABC):
    """Files below one root. All methods raise AccessDenied or Unavailable with a remedy; absence is a value, not an error."""

    uri: str
    """Absolute path or URI of the root, no trailing slash."""

    @abstractmethod
    def read(self, key: str) -> bytes | None:
        """The whole file, or None where there is none."""

    @abstractmethod
    def write(self, key: str, data: bytes) -> None:
        """Replace or make the file, whole or not at all, durable on return."""

    @abstractmethod
    def create(self, key: str, data: bytes) -> None:
        """Make the file, durable on return. Raises Occupied where it exists: exactly one of any number of callers wins."""

    @abstractmethod
    def open_writer(self, key: str) -> AbstractContextManager[BinaryIO]:
        """Stream a file; it appears, durable, when the block ends well, and not at all when it raises."""

    @abstractmethod
    def list(self, prefix: str) -> Iterator[Entry]:
        """All files below a directory, in the order of their keys; leftovers of interrupted writes included."""

    @abstractmethod
    def children(self, prefix: str = "") -> list[str]:
        """Names of the directories directly below `prefix`, sorted."""

    @abstractmethod
    def size(self, key: str) -> int | None:
        """Bytes, or None where there is no such file."""

    @abstractmethod
    def delete(self, prefix: str) -> int:
        """Delete the file, or all files below the directory; the number of files deleted. Follows no links."""

    def delete_files(self, keys: Iterable[str]) -> None:
        """Delete single files, in any order, and in few requests where the store can; one that is gone already is no error."""
        for key in keys:
            self.delete(key)

    @abstractmethod
    def copy(self, source: str, target: str) -> None:
        """An immutable file under a second key, without moving its bytes through this process."""

    @abstractmethod
    def sync(self, prefix: str) -> None:
        """Make directories below `prefix` durable (local disks; nothing to do elsewhere)."""

    @abstractmethod
    def local_path(self, key: str) -> Path | None:
        """The file or directory on this machine, None for an object store."""

    @abstractmethod
    def filesystem(self) -> fs.FileSystem:
        """For pyarrow: paths are those of `path_of`."""

    @abstractmethod
    def path_of(self, key: str) -> str:
        """The path of `key` in `filesystem()`."""

    def uri_of(self, key: str) -> str:
        return f"{self.uri}/{checked(key)}"

    def key_of(self, uri: str) -> str:
        """Inverse of `uri_of`. Raises SpecError for a URI outside of this workspace."""
        if not uri.startswith(self.uri + "/"):
            raise SpecError(f"{uri} is not inside the workspace {self.uri}", remedy="name a collection of this workspace")
        return checked(uri[len(self.uri) + 1 :])


def checked(key: str) -> str:
    """The key itself, or SpecError where it could leave the root or is no plain relative path."""
    parts = key.split("/")
    if any(part in ("", ".", "..") or not _PART.fullmatch(part) for part in parts):
        raise SpecError(f"{key!r} is not a path inside the workspace", remedy="use a plain name, without '..', '//' or control characters")
    return key
