"""An object store as a pyarrow file system: read-only, range by range, through obstore's sync API.

`obstore.fsspec` would do the same through its async API, which can abort the interpreter at exit.
"""

from __future__ import annotations

import atexit
import io
import time
from collections.abc import Sequence
from typing import Any
from weakref import WeakValueDictionary

import obstore
import pyarrow as pa
from obstore.store import ObjectStore
from pyarrow import fs

_TRIES = 3
_READ_ONLY = "this file system is read-only"
_LAST_READS = 5.0
"""Seconds that the end of the interpreter waits for reads that were begun."""
_PAUSE = 0.01
_LIVING: WeakValueDictionary[int, ArrowFile | ObjectFiles] = WeakValueDictionary()
"""What Arrow's threads may still hold: the one registry of this module, kept for `_settle` alone."""


class ArrowFile(io.RawIOBase):
    """A seekable file of ours that Arrow's threads read: the end of the interpreter waits for them."""

    def __init__(self) -> None:
        super().__init__()
        _LIVING[id(self)] = self
        self._size = 0
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def size(self) -> int:
        return self._size

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at


class RangeFile(ArrowFile):
    """One object as a seekable file: a read is a range request of exactly that many bytes."""

    def __init__(self, store: ObjectStore, key: str) -> None:
        super().__init__()
        self._store = store
        self._key = key
        self._size = obstore.head(store, key)["size"]

    def read(self, size: int = -1, /) -> bytes:
        end = self._size if size < 0 else min(self._size, self._at + size)
        if end <= self._at:
            return b""
        data = self._range(end)
        self._at = end
        return data

    def _range(self, end: int) -> bytes:
        """obstore hands on a body that is too short when its length is honest. Raises ConnectionError when that goes on."""
        data = b""
        for _ in range(_TRIES):
            data = bytes(obstore.get_range(self._store, self._key, start=self._at, end=end))
            if len(data) == end - self._at:
                return data
        raise ConnectionError(f"{self._key}: {len(data)} bytes came where {end - self._at} were asked for")


class ObjectFiles(fs.FileSystemHandler):
    """pyarrow's file system interface over one store; paths are keys."""

    def __init__(self, store: ObjectStore) -> None:
        _LIVING[id(self)] = self
        self.store = store

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectFiles) and other.store == self.store

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]

    def get_type_name(self) -> str:
        return "obstore"

    def normalize_path(self, path: str) -> str:
        return path.strip("/")

    def get_file_info(self, paths: Sequence[str]) -> list[fs.FileInfo]:
        return [self._info(path) for path in paths]

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        base = selector.base_dir.strip("/")
        pages = obstore.list(self.store, f"{base}/" if base else None)
        return [fs.FileInfo(meta["path"], fs.FileType.File, size=meta["size"]) for page in pages for meta in page]

    def open_input_file(self, path: str) -> pa.NativeFile:
        return pa.PythonFile(RangeFile(self.store, path), mode="r")

    def open_input_stream(self, path: str) -> pa.NativeFile:
        return self.open_input_file(path)

    def _info(self, path: str) -> fs.FileInfo:
        key = path.strip("/")
        try:
            return fs.FileInfo(path, fs.FileType.File, size=obstore.head(self.store, key)["size"])
        except (FileNotFoundError, ValueError):
            listing = obstore.list_with_delimiter(self.store, f"{key}/" if key else None)
            there = bool(listing["objects"] or listing["common_prefixes"])
            return fs.FileInfo(path, fs.FileType.Directory if there else fs.FileType.NotFound)

    def open_output_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        raise NotImplementedError(_READ_ONLY)

    def open_append_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        raise NotImplementedError(_READ_ONLY)

    def create_dir(self, path: str, recursive: bool) -> None:  # noqa: FBT001 -- pyarrow's signature
        raise NotImplementedError(_READ_ONLY)

    def delete_dir(self, path: str) -> None:
        raise NotImplementedError(_READ_ONLY)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:  # noqa: FBT001, FBT002
        raise NotImplementedError(_READ_ONLY)

    def delete_root_dir_contents(self) -> None:
        raise NotImplementedError(_READ_ONLY)

    def delete_file(self, path: str) -> None:
        raise NotImplementedError(_READ_ONLY)

    def move(self, src: str, dest: str) -> None:
        raise NotImplementedError(_READ_ONLY)

    def copy_file(self, src: str, dest: str) -> None:
        raise NotImplementedError(_READ_ONLY)


def _settle() -> None:
    """Wait at the end of the interpreter until Arrow's threads have let go of what they hold of ours.

    A scan is answered before its threads have dropped their files, and a thread that asks for the interpreter while that ends is
    ended itself, in the midst of C++ that cannot be left: the process aborts ("terminate called without an active exception", seen
    in one of some hundred runs). Files are waited for; a file system that a caller keeps is let be when nothing changes any more.
    """
    end = time.monotonic() + _LAST_READS
    calm = 0
    while _LIVING and calm < 3 and time.monotonic() < end:
        before = len(_LIVING)
        time.sleep(_PAUSE)
        changed = len(_LIVING) != before or any(isinstance(one, ArrowFile) for one in _LIVING.values())
        calm = 0 if changed else calm + 1


atexit.register(_settle)
