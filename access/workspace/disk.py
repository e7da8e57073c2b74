"""A workspace on a local disk: durable writes and an atomic create that obstore's LocalStore does not give.

LocalStore never calls fsync and has no compare-and-swap; `os.link` is the create-only primitive of POSIX.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from pyarrow import fs

from rasterloom.access.workspace.files import Entry, Occupied, Workspace, checked
from rasterloom.errors import AccessDenied, RasterloomError, SpecError, Unavailable

_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}
_DENIED = {errno.EACCES, errno.EPERM}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


@contextmanager
def disk_errors(path: Path | str) -> Generator[None]:
    """Translate OSError to our errors, with the path and what to do about it."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, path) from error


def disk_error(error: OSError, path: Path | str) -> RasterloomError:
    if error.errno in _FULL:
        return Unavailable(f"{path}: {_FULL[error.errno]}", remedy="free some space or choose another workspace; nothing was committed")
    if error.errno == errno.EROFS:
        return AccessDenied(f"{path}: the file system is read-only", remedy="choose a workspace that can be written to")
    if error.errno in _DENIED:
        return AccessDenied(f"{path}: permission denied", remedy="give this user the right to it, or choose another workspace")
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG):
        return SpecError(f"{path}: {os.strerror(error.errno)}", remedy="choose a directory as workspace")
    return Unavailable(f"{path}: {error.strerror or error}", remedy="check the disk, then run again")


class LocalWorkspace(Workspace):
    """Files below a directory, which is made when something is first written."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.realpath(root.expanduser()))
        self.uri = str(self.root)
        with disk_errors(self.root):
            is_file = self.root.exists() and not self.root.is_dir()
        if is_file:
            raise SpecError(f"{self.root} is not a directory", remedy="choose a directory as workspace")

    def local_path(self, key: str) -> Path:
        """Raises SpecError where a symbolic link is on the way: nothing in a workspace is reached through one."""
        path = self.root / checked(key)
        if os.path.realpath(path.parent) != str(path.parent):
            raise _link(path.parent, self.root)
        return path

    def _place(self, key: str) -> Path:
        """As `local_path`, and no link itself."""
        path = self.local_path(key)
        with disk_errors(path):
            if path.is_symlink():
                raise _link(path, self.root)
        return path

    def _folder(self, prefix: str) -> Path:
        return self._place(prefix) if prefix else self.root

    def read(self, key: str) -> bytes | None:
        path = self._place(key)
        with disk_errors(path):
            try:
                return path.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def write(self, key: str, data: bytes) -> None:
        with self.open_writer(key) as file:
            file.write(data)

    def create(self, key: str, data: bytes) -> None:
        path = self.local_path(key)
        with disk_errors(path):
            _make_directories(path.parent)
            temporary = _write_temporary(path, data)
            try:
                _link_new(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
            sync_directory(path.parent)

    @contextmanager
    def open_writer(self, key: str) -> Generator[BinaryIO]:
        path = self.local_path(key)
        with disk_errors(path):
            _make_directories(path.parent)
            temporary = _temporary(path)
            try:
                with temporary.open("xb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            sync_directory(path.parent)

    def list(self, prefix: str) -> Iterator[Entry]:
        top = self._folder(prefix)
        with disk_errors(top):
            walk = os.walk(top, onerror=_unless_gone)
            found = sorted(path for folder, folders, names in walk for path in _files(Path(folder), folders, names))
            for path in found:
                try:
                    stat = path.lstat()
                except FileNotFoundError:
                    continue  # another process' temporary file, renamed or removed meanwhile
                modified = datetime.fromtimestamp(stat.st_mtime, UTC)
                yield Entry(key=path.relative_to(self.root).as_posix(), size=stat.st_size, modified=modified)

    def children(self, prefix: str = "") -> list[str]:
        top = self._folder(prefix)
        with disk_errors(top):
            try:
                return sorted(entry.name for entry in os.scandir(top) if entry.is_dir(follow_symlinks=False))
            except (FileNotFoundError, NotADirectoryError):
                return []

    def size(self, key: str) -> int | None:
        path = self._place(key)
        with disk_errors(path):
            try:
                return path.stat().st_size if path.is_file() else None
            except (FileNotFoundError, NotADirectoryError):
                return None

    def delete(self, prefix: str) -> int:
        path = self.local_path(prefix)
        with disk_errors(path):
            if path.is_symlink() or path.is_file():
                path.unlink()
                return 1
            count = sum(1 for _ in self.list(prefix))
            if path.is_dir():
                shutil.rmtree(path)
            return count

    def copy(self, source: str, target: str) -> None:
        path = self.local_path(target)
        with disk_errors(path):
            _make_directories(path.parent)
            try:
                os.link(self._place(source), path)
            except OSError as error:
                if error.errno not in _NO_LINKS | {errno.EXDEV}:
                    raise
                shutil.copyfile(self._place(source), path)
                sync_file(path)

    def sync(self, prefix: str) -> None:
        top = self.local_path(prefix)
        with disk_errors(top):
            for folder, _, _ in os.walk(top, topdown=False):
                sync_directory(Path(folder))
            for parent in (top, *top.parents):
                if not parent.is_relative_to(self.root):
                    break
                sync_directory(parent)

    def filesystem(self) -> fs.FileSystem:
        return fs.LocalFileSystem()

    def path_of(self, key: str) -> str:
        return str(self._folder(key))


def _files(folder: Path, folders: Sequence[str], names: Sequence[str]) -> list[Path]:
    """What `os.walk` found in a folder and does not walk into: links to folders are files here, and never followed."""
    return [*(folder / name for name in names), *(path for name in folders if (path := folder / name).is_symlink())]


def _unless_gone(error: OSError) -> None:
    """A directory that cannot be read is not an empty one; one that was removed meanwhile is."""
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise error


def _link(path: Path, root: Path) -> SpecError:
    return SpecError(
        f"{path} is a symbolic link or behind one, and may lead out of the workspace {root}",
        remedy="remove the link, or name what it leads to",
    )


def sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """A new name is durable only when its directory is. Windows cannot open directories and needs no such call."""
    if os.name == "posix":
        sync_file(path)


def _make_directories(path: Path) -> None:
    """Like `mkdir -p`, and durable: the parent of every new directory is synced too."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync_directory(folder.parent)


def _temporary(path: Path) -> Path:
    """A leading dot hides it from every Parquet reader."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")


def _write_temporary(path: Path, data: bytes) -> Path:
    temporary = _temporary(path)
    with temporary.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return temporary


def _link_new(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError as error:
        raise Occupied(f"{path} exists") from error
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        raise SpecError(
            f"{path.parent}: this file system has no hard links, so a commit cannot be made atomically",
            remedy="choose a workspace on a local POSIX file system or an object store",
        ) from error
