"""A workspace in an object store: S3 and its look-alikes, Google Cloud Storage, Azure; obstore's sync API alone.

`put(mode="create")` is the only conditional operation that all of them have (`If-None-Match: *` on S3).
"""

from __future__ import annotations

import io
import random
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, TypeVar, cast
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import ObjectStore, S3Store
from pyarrow import fs

from rasterloom.access.credentials.auth import environment_grant
from rasterloom.access.network.ranges import ObjectFiles
from rasterloom.access.network.translate import translated
from rasterloom.access.workspace.files import Entry, Occupied, Workspace, checked
from rasterloom.errors import SpecError, Unavailable, Unreadable

_WRITE_BUFFER = 8 * 1024 * 1024
"""Bytes of one uploaded part; S3 allows no part below 5 MiB but the last."""
_DELETE_BATCH = 500
_TRIES = 5
T = TypeVar("T")


class BucketWorkspace(Workspace):
    """Objects below one prefix; `store` is already bound to it."""

    def __init__(self, store: ObjectStore, uri: str) -> None:
        self.store = store
        self.uri = uri.rstrip("/")
        self._probed = False

    @classmethod
    def at(cls, uri: str, options: Mapping[str, str]) -> BucketWorkspace:
        return cls(store_at(uri, options), uri)

    def local_path(self, key: str) -> None:
        """None for every valid key: nothing of it is on this machine."""
        checked(key)

    def read(self, key: str) -> bytes | None:
        checked(key)
        return self._patiently(key, lambda: bytes(obstore.get(self.store, key).bytes()))

    def write(self, key: str, data: bytes) -> None:
        checked(key)
        self._patiently(key, lambda: obstore.put(self.store, key, data))

    def create(self, key: str, data: bytes) -> None:
        """Occupied may be our own earlier answer that was lost: read back."""
        self._probe()
        self._create(key, data)

    def _probe(self) -> None:
        """Once per workspace: some look-alikes of S3 ignore the condition in silence, and would let two commits have one number."""
        if self._probed:
            return
        key = f"_cache/probes/{uuid.uuid4().hex}"
        try:
            self._create(key, b"1")
            self._create(key, b"2")
        except Occupied:
            self._probed = True
        self.delete(key)
        if not self._probed:
            raise SpecError(
                f"{self.uri}: this object store ignores 'create only if absent', so two builds could overwrite each other",
                remedy="choose a store with conditional writes (S3, GCS, Azure, a recent MinIO or Ceph), or a local workspace",
            )

    def _create(self, key: str, data: bytes) -> None:
        with translated(self._name(key)):
            try:
                obstore.put(self.store, checked(key), data, mode="create", use_multipart=False)
            except AlreadyExistsError as error:
                raise Occupied(f"{self.uri}/{key} exists") from error

    @contextmanager
    def open_writer(self, key: str) -> Generator[BinaryIO]:
        """Parts go up as they fill; the object appears on close. A part that fails leaves nothing visible."""
        with translated(self._name(key)):
            writer = obstore.open_writer(self.store, checked(key), buffer_size=_WRITE_BUFFER, max_concurrency=2)
            yield cast(BinaryIO, _Upload(writer))
            writer.close()

    def list(self, prefix: str) -> Iterator[Entry]:
        below = f"{checked(prefix)}/" if prefix else None
        found = self._patiently(prefix, lambda: [meta for page in obstore.list(self.store, below) for meta in page]) or []
        for meta in sorted(found, key=lambda meta: meta["path"]):
            yield Entry(key=meta["path"], size=meta["size"], modified=meta["last_modified"])

    def children(self, prefix: str = "") -> list[str]:
        below = f"{checked(prefix)}/" if prefix else None
        found = self._patiently(prefix, lambda: obstore.list_with_delimiter(self.store, below)["common_prefixes"]) or []
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in found)

    def size(self, key: str) -> int | None:
        checked(key)
        return self._patiently(key, lambda: obstore.head(self.store, key)["size"])

    def delete(self, prefix: str) -> int:
        keys = [entry.key for entry in self.list(checked(prefix))]
        if self.size(prefix) is not None:
            keys.append(prefix)
        self.delete_files(keys)
        return len(keys)

    def delete_files(self, keys: Iterable[str]) -> None:
        wanted = [checked(key) for key in keys]
        for start in range(0, len(wanted), _DELETE_BATCH):
            self._delete_some(wanted[start : start + _DELETE_BATCH])

    def _delete_some(self, keys: list[str]) -> None:
        """In one request where the store has such a one. Some stores stop at a file that is gone already: then one by one."""
        gone = self._patiently(keys[0], lambda: obstore.delete(self.store, keys) or True) is None
        if gone and len(keys) > 1:
            for key in keys:
                self._delete_some([key])

    def copy(self, source: str, target: str) -> None:
        with translated(self._name(target)):
            obstore.copy(self.store, checked(source), checked(target))

    def sync(self, prefix: str) -> None:
        """Object stores answer a put only when it is durable."""

    def filesystem(self) -> fs.FileSystem:
        return fs.PyFileSystem(ObjectFiles(self.store))

    def path_of(self, key: str) -> str:
        return checked(key) if key else ""

    def _patiently(self, key: str, call: Callable[[], T]) -> T | None:
        """More tries of a call that may be repeated: obstore gives up when a body breaks off. None where there is no such object."""
        for attempt in range(_TRIES):
            try:
                with translated(self._name(key)):
                    return call()
            except Unreadable as error:
                if error.reason == "missing":
                    return None
                raise
            except Unavailable:
                if attempt == _TRIES - 1:
                    raise
            time.sleep(random.uniform(0, 0.1 * 2**attempt))
        return None

    def _name(self, key: str) -> str:
        """As it stands after `could not`."""
        return f"use {self.uri}/{key}"


class _Upload(io.RawIOBase):
    """A writable file over obstore's writer, which lacks what pyarrow asks of one."""

    def __init__(self, writer: obstore.WritableFile) -> None:
        self._writer = writer
        self._written = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, data: Any, /) -> int:
        size = memoryview(data).nbytes
        self._writer.write(data)
        self._written += size
        return size


def store_at(uri: str, options: Mapping[str, str]) -> ObjectStore:
    """The obstore store whose prefix is `uri`. Credentials come from the environment and the machine, as for files; `options` are
    those of `auth`. Where there are none, it is asked without: a public bucket can be read. Raises SpecError, AccessDenied.
    """
    grant = environment_grant(uri, options)
    client = {"allow_http": True} if str(grant.config.get("endpoint", "")).startswith("http://") else {}
    options_of: Any = {"config": grant.config, "client_options": client, "credential_provider": grant.provider}
    parts = urlsplit(uri)
    try:
        if parts.scheme.lower() in ("s3", "s3a"):
            # not by from_url: it does not take the endpoint that goes before one of the environment
            return S3Store(parts.netloc, prefix=parts.path.strip("/") or None, **options_of)
        return obstore.store.from_url(uri, **options_of)
    except (BaseError, ValueError) as error:
        raise SpecError(
            f"{uri} cannot be a workspace: {error}", remedy="write s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
        ) from error
