"""The Parquet files that a table's address names, and how they are opened: local, or range by range out of a store or a web server."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from glob import glob, has_magic
from pathlib import Path
from typing import cast

import obstore
import pyarrow as pa
from obstore.store import ObjectStore

from rasterloom.access.archive.stores import Located, Stores
from rasterloom.access.archive.transfer import Transfer
from rasterloom.access.network.ranges import ArrowFile
from rasterloom.access.network.redact import redact
from rasterloom.access.network.translate import FOREIGN, error_of, fault_of, translated
from rasterloom.errors import SpecError, Unreadable
from rasterloom.specs.effort import Effort

ENDINGS = (".parquet", ".geoparquet", ".pq")
FIRST = 65_536
"""Bytes of the first request: it tells the size, and of a small table it is all."""
LARGEST = 16 * 1024 * 1024
"""Bytes of one request; pyarrow asks for more at once."""
_MOST = 256 * 1024 * 1024
"""Bytes that may be asked for at once: a footer that claims more is not believed."""
_MOST_FILES = 1_000_000
"""Objects below a prefix that are listed."""
_LOCAL = re.compile(r"(?![a-zA-Z][a-zA-Z0-9+.-]*://)|file://", re.IGNORECASE)
_MAGIC = re.compile(r"\*\*/|\*\*|\*|\?|\[[^\]]*\]")


@dataclass(slots=True)
class Meter:
    """What reading a table costs."""

    requests: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFile:
    """One Parquet file of a table."""

    uri: str
    """Absolute path or URL."""
    partition: Mapping[str, str | int]
    """Columns that its hive path says: `.../year=2024/...`."""

    @property
    def shown(self) -> str:
        """For people and logs."""
        return redact(self.uri)


class Files:
    """The files of one address. Requests go through `stores`, with the retries of `effort`, and are counted in `meter`."""

    def __init__(self, uri: str, stores: Stores, effort: Effort, meter: Meter) -> None:
        self.uri = uri
        self.meter = meter
        self._stores = stores
        self._effort = effort

    def files(self) -> list[TableFile]:
        """In the order of their names. Raises `SpecError` where there is none."""
        found = _local(_path(self.uri)) if _LOCAL.match(self.uri) else self._remote()
        if not found:
            raise SpecError(
                f"table.uri {redact(self.uri)} holds no Parquet file",
                remedy="give a file, a directory or a glob such as s3://bucket/index/**/*.parquet",
            )
        return [TableFile(uri=uri, partition=_partition(uri)) for uri in sorted(found)]

    def open(self, file: TableFile) -> pa.NativeFile:
        """For random access. Raises `SpecError` where there is no such file, else as `Transfer.range`."""
        if _LOCAL.match(file.uri):
            with translated(f"read the table {file.shown}"):
                return pa.OSFile(_path(file.uri))
        try:
            return pa.PythonFile(_Ranges(self._stores.locate(file.uri), self._stores, self._effort, self.meter), mode="r")
        except FOREIGN as error:
            if fault_of(error).reason == "missing":
                raise SpecError(f"there is no table {file.shown}", remedy="correct table.uri") from None
            raise error_of(f"read the table {file.shown}", error) from None

    def _remote(self) -> list[str]:
        base = _base(self.uri)
        if self.uri.lower().startswith(("http://", "https://")):
            if has_magic(self.uri.partition("?")[0]):
                raise SpecError(
                    f"{redact(self.uri)}: a web server lists no files",
                    remedy="give the address of one file, or an s3://, gs:// or az:// prefix",
                )
            return [self.uri]
        if not has_magic(self.uri) and self.uri.endswith(ENDINGS):
            return [self.uri]
        below = list(self._listed(base))
        if has_magic(self.uri):
            wanted = _pattern(self.uri)
            return [uri for uri in below if wanted.fullmatch(uri) and not _hidden(uri[len(base) :])]
        return [uri for uri in below if uri.endswith(ENDINGS) and not _hidden(uri[len(base) :])]

    def _listed(self, base: str) -> Iterator[str]:
        scheme, _, rest = base.partition("://")
        bucket, _, prefix = rest.partition("/")
        root = f"{scheme}://{bucket}"
        located = self._stores.locate(f"{root}/_")
        with translated(f"list {redact(base)}"):
            found = 0
            for page in obstore.list(cast(ObjectStore, located.store), prefix.rstrip("/") or None):
                self.meter.requests += 1
                found += len(page)
                if found > _MOST_FILES:
                    raise SpecError(f"{redact(base)} holds more than {_MOST_FILES} objects", remedy="give a narrower prefix in table.uri")
                yield from (f"{root}/{entry['path']}" for entry in page)


class _Ranges(ArrowFile):
    """One remote object as a seekable file."""

    def __init__(self, located: Located, stores: Stores, effort: Effort, meter: Meter) -> None:
        super().__init__()
        self._located, self._stores, self._effort, self._meter = located, stores, effort, meter
        self._first = b""
        self._first = self._asked(0, FIRST)

    def read(self, size: int = -1, /) -> bytes:
        start, end = self._at, self._size if size < 0 else min(self._size, self._at + size)
        if end <= start:
            return b""
        if end - start > _MOST:
            message = f"the table {redact(self._located.href)} asks for {end - start} bytes at once"
            raise Unreadable(message, reason="too-large", remedy="write it with smaller row groups")
        if end <= len(self._first):
            data = self._first[start:end]
        else:
            data = b"".join(self._asked(at, min(end, at + LARGEST)) for at in range(start, end, LARGEST))
        self._at = end
        return data

    def _asked(self, start: int, end: int) -> bytes:
        transfer = Transfer(self._located, self._stores.gate(self._located.host), effort=self._effort)
        try:
            part = transfer.first(end) if start == 0 and not self._first else transfer.range(start, end)
        finally:
            self._meter.requests += transfer.requests
            self._meter.bytes += transfer.bytes
        self._located = transfer.located  # its credentials may have been renewed
        self._size = part.size
        return bytes(part.data)


def _path(uri: str) -> str:
    return uri[len("file://") :] if uri.lower().startswith("file://") else uri


def _base(uri: str) -> str:
    """The directory that all files lie in, with its slash; of one file its own directory."""
    magic = _MAGIC.search(uri)
    fixed = uri[: magic.start()] if magic else uri
    if magic or uri.endswith(ENDINGS) or _is_file(uri):
        return fixed[: fixed.rfind("/") + 1]
    return fixed.rstrip("/") + "/"


def _is_file(uri: str) -> bool:
    return bool(_LOCAL.match(uri)) and Path(_path(uri)).is_file()


def _local(path: str) -> list[str]:
    if has_magic(path):
        return [name for name in glob(path, recursive=True) if Path(name).is_file() and not _hidden(name[len(_base(path)) :])]
    place = Path(path)
    if place.is_file():
        return [path]
    if not place.is_dir():
        raise SpecError(f"there is no table {path}", remedy=_near(place))
    found = (file for file in place.rglob("*") if file.suffix in ENDINGS and file.is_file())
    return [str(file) for file in found if not _hidden(str(file.relative_to(place)))]


def _near(path: Path) -> str:
    try:
        near = get_close_matches(path.name, os.listdir(path.parent), n=1, cutoff=0.5)
    except OSError:
        return "correct table.uri"
    return f"write {path.parent / near[0]}" if near else "correct table.uri"


def _hidden(relative: str) -> bool:
    return any(part.startswith(("_", ".")) for part in relative.split("/"))


def _partition(uri: str) -> dict[str, str | int]:
    """As DuckDB reads them, of the whole path: a glob or a file below `year=2024/` has that column, too."""
    pairs = [folder.partition("=") for folder in uri.partition("?")[0].split("/")[:-1] if "=" in folder]
    return {name: int(text) if text.isascii() and text.isdigit() else text for name, _, text in pairs}


def _pattern(uri: str) -> re.Pattern[str]:
    """As `glob` with `recursive`: `*` and `?` keep to one directory, `**` crosses them."""
    known = {"**/": r"(?:[^/]+/)*", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}
    parts: list[str] = []
    at = 0
    for magic in _MAGIC.finditer(uri):
        parts += [re.escape(uri[at : magic.start()]), known.get(magic[0], magic[0].replace("[!", "[^"))]
        at = magic.end()
    return re.compile("".join(parts) + re.escape(uri[at:]))
