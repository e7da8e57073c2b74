"""`<workspace>/<name>_stac` points to the newest version (local disks), so that Rasteret's own listing finds it. A convenience."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path

from rasterloom.access.versions.commits import latest, version_key
from rasterloom.access.workspace.disk import disk_errors
from rasterloom.access.workspace.files import Workspace
from rasterloom.errors import RasterloomError


def publish_link(workspace: Workspace, name: str) -> None:
    """Let the link point to the newest version, also where another run commits meanwhile. Something else of that name is left alone.

    Never fails: what has committed has succeeded, with a link or without.
    """
    with suppress(OSError, RasterloomError):
        _point(workspace, name)


def _point(workspace: Workspace, name: str) -> None:
    link = workspace.local_path(f"{name}_stac")
    newest = latest(workspace, name) if link is not None else None
    while newest is not None and link is not None and (link.is_symlink() or not link.exists()):
        _swap(link, Path(version_key(name, newest.dir)))
        again = latest(workspace, name)
        if again is None or again.version == newest.version:
            return
        newest = again


def points_to(workspace: Workspace, name: str) -> str | None:
    """Where the link points, relative to the workspace; None where there is none."""
    link = workspace.local_path(f"{name}_stac")
    if link is None:
        return None
    with disk_errors(link):
        return os.readlink(link) if link.is_symlink() else None


def _swap(link: Path, target: Path) -> None:
    temporary = link.with_name(f".{link.name}.{uuid.uuid4().hex}.tmp")
    try:
        os.symlink(target, temporary, target_is_directory=True)
        os.replace(temporary, link)
    except OSError:  # a file system without links, or a full one
        temporary.unlink(missing_ok=True)
