"""Where collections live: a directory, or a prefix of an object store."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from rasterloom.access.workspace.bucket import BucketWorkspace
from rasterloom.access.workspace.disk import LocalWorkspace
from rasterloom.access.workspace.files import Entry, Occupied, Workspace

__all__ = ["DEFAULT", "BucketWorkspace", "Entry", "LocalWorkspace", "Occupied", "Workspace", "default_uri", "is_remote", "open_workspace"]

DEFAULT = "~/rasterloom_workspace"
_REMOTE = re.compile(r"^(s3a?|gs|az|azure|abfss?|adl)://", re.IGNORECASE)


def open_workspace(uri: str | None = None, *, options: Mapping[str, str] | None = None) -> Workspace:
    """The workspace at a directory or `s3://`, `gs://`, `az://` prefix; None: RASTERLOOM_WORKSPACE, else `~/rasterloom_workspace`.

    `options` are settings of the object store (`region`, `endpoint`, ...) beside those that it takes from the
    environment. Makes nothing. Raises SpecError for what can be no workspace.
    """
    place = uri or default_uri()
    if is_remote(place):
        return BucketWorkspace.at(place, options or {})
    return LocalWorkspace(Path(place.removeprefix("file://")))


def default_uri() -> str:
    return os.environ.get("RASTERLOOM_WORKSPACE") or DEFAULT


def is_remote(uri: str) -> bool:
    """Whether `uri` names an object store rather than a local path."""
    return _REMOTE.match(uri) is not None
