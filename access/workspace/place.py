"""Where collections live: a directory, or a prefix of an object store."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from rasterloom.access.workspace.bucket import BucketWorkspace
from rasterloom.access.workspace.disk import LocalWorkspace
from rasterloom.access.workspace.files import Entry, Occupied, Workspace
from rasterloom.errors import SpecError

__all__ = [
    "DEFAULT",
    "BucketWorkspace",
    "Entry",
    "LocalWorkspace",
    "Occupied",
    "Workspace",
    "default_uri",
    "is_remote",
    "local_path",
    "open_workspace",
]

DEFAULT = "~/rasterloom_workspace"
_STORES = r"s3a?|gs|az|azure|abfss?|adl"
_REMOTE = re.compile(rf"^({_STORES})://[^/]", re.IGNORECASE)
_NO_BUCKET = re.compile(rf"^({_STORES})://", re.IGNORECASE)
_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_FILE = re.compile(r"^file://", re.IGNORECASE)


def open_workspace(uri: str | None = None, *, options: Mapping[str, str] | None = None) -> Workspace:
    """The workspace at a directory or `s3://`, `gs://`, `az://` prefix; None: RASTERLOOM_WORKSPACE, else `~/rasterloom_workspace`.

    `options` are settings of the object store (`region`, `endpoint`, ...) beside those that it takes from the
    environment. Makes nothing. Raises SpecError for what can be no workspace.
    """
    place = uri or default_uri()
    if is_remote(place):
        return BucketWorkspace.at(place, options or {})
    return LocalWorkspace(local_path(place))


def local_path(uri: str) -> Path:
    """The path that `uri` names, as it is or behind `file://`. Raises SpecError for an address of something else: as a path, `ftp://a/b`
    would be a directory named `ftp:` in the working directory."""
    path = _FILE.sub("", uri)
    remedy = "write a directory, or s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
    if path != uri and not path.startswith(("/", "~")):
        raise SpecError(f"{uri} names a host, {path.partition('/')[0]!r}, and no path", remedy=f"write file:///{path}")
    if _NO_BUCKET.match(path):
        raise SpecError(f"{uri} names no bucket", remedy=remedy)
    if scheme := _SCHEME.match(path):
        raise SpecError(f"{uri} has the scheme {scheme[0].partition(':')[0]}, allowed are s3, gs, az, file", remedy=remedy)
    return Path(path)


def default_uri() -> str:
    return os.environ.get("RASTERLOOM_WORKSPACE") or DEFAULT


def is_remote(uri: str) -> bool:
    """Whether `uri` names a bucket of an object store, or a prefix of one, rather than a local path."""
    return _REMOTE.match(uri) is not None
