"""What one process does to the files below one directory, operation by operation, with a fault at any of them.

The functions of `os` and `open` are replaced in this process: nothing in the product knows of it. An operation is one call that the
kernel would see: open, write, fsync, link, replace, mkdir, symlink, unlink, rmdir; and, where a fault may hit them, stat, listing and
reading. A process killed before the K-th of them has done exactly the first K-1.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHANGING = ("open-write", "write", "fsync", "link", "rename", "replace", "mkdir", "symlink", "unlink", "remove", "rmdir", "truncate")
LOOKING = ("open-read", "read", "stat", "lstat", "scandir", "listdir", "readlink")
_TWO_PATHS = ("link", "rename", "replace", "symlink")


@dataclass(frozen=True, slots=True)
class Operation:
    number: int
    """1-based, among the operations that count."""
    name: str
    path: str
    """Absolute; where two are named, the new one."""
    source: str = ""
    size: int = 0
    """Bytes to be written."""


Watcher = Callable[[Operation], None]


class Interposer:
    """Calls `before` ahead of each operation below `root` and `after` behind it. `before` may raise, or never return."""

    def __init__(self, root: str, kinds: tuple[str, ...] = CHANGING) -> None:
        self.root = os.path.realpath(root)
        self.kinds = kinds
        self.count = 0
        self.before: list[Watcher] = []
        self.after: list[Watcher] = []
        self._real: dict[str, Any] = {name: getattr(os, name) for name in (*CHANGING, *LOOKING, "open") if hasattr(os, name)}
        self._real_open = io.open

    def install(self) -> None:
        """For the rest of this process's life."""
        for name in (*CHANGING, *LOOKING):
            if name in self._real and name != "write" and name != "read":
                setattr(os, name, self._watched(name))
        os.open = self._os_open
        io.open = builtins.open = self._open  # type: ignore[assignment]

    def entered(self, name: str, path: str, source: str = "", size: int = 0) -> Operation | None:
        """The operation, when it is one of those that count; `before` has been asked."""
        if name not in self.kinds or not (path == self.root or path.startswith(self.root + "/")):
            return None
        self.count += 1
        operation = Operation(self.count, name, path, source, size)
        for watcher in self.before:
            watcher(operation)
        return operation

    def left(self, operation: Operation | None) -> None:
        for watcher in self.after if operation is not None else ():
            watcher(operation)

    def _watched(self, name: str) -> Callable[..., Any]:
        real = self._real[name]

        def call(*args: Any, **options: Any) -> Any:
            first = self._path_of(args[0] if args else ".", options.get("src_dir_fd", options.get("dir_fd")))
            second = self._path_of(args[1], options.get("dst_dir_fd", options.get("dir_fd"))) if name in _TWO_PATHS else ""
            operation = self.entered(name, second or first, first if second else "")
            result = real(*args, **options)
            self.left(operation)
            return result

        return call

    def _os_open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        name = "open-write" if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) else "open-read"
        operation = self.entered(name, self._path_of(path, dir_fd))
        descriptor = self._real["open"](path, flags, mode, dir_fd=dir_fd)
        self.left(operation)
        return descriptor

    def _open(self, file: Any, mode: str = "r", buffering: int = -1, *args: Any, **options: Any) -> Any:
        path = self._path_of(file, None)
        writes = any(letter in mode for letter in "wxa+")
        operation = self.entered("open-write" if writes else "open-read", path)
        opened = self._opened(file, mode, buffering, path, *args, **options)
        self.left(operation)
        return opened

    def _opened(self, file: Any, mode: str, buffering: int, path: str, *args: Any, **options: Any) -> Any:
        if "b" not in mode or not path.startswith(self.root + "/"):
            return self._real_open(file, mode, buffering, *args, **options)
        raw = WatchedFile(self, path, mode.replace("b", ""))
        if buffering == 0:
            return raw
        return io.BufferedReader(raw) if raw.readable() and not raw.writable() else io.BufferedWriter(raw)

    def _path_of(self, path: Any, directory: int | None) -> str:
        if isinstance(path, int):
            return self._of_descriptor(path)
        text = os.fsdecode(path)
        base = os.getcwd() if directory is None else self._of_descriptor(directory)
        return os.path.normpath(os.path.join(base, text))

    def _of_descriptor(self, descriptor: int) -> str:
        with contextlib.suppress(OSError):
            return self._real["readlink"](f"/proc/self/fd/{descriptor}")
        return ""


class WatchedFile(io.FileIO):
    """A file whose reads and writes count."""

    def __init__(self, interposer: Interposer, path: str, mode: str) -> None:
        super().__init__(path, mode, opener=lambda name, flags: interposer._real["open"](name, flags, 0o666))
        self._interposer, self._path = interposer, path

    def write(self, data: Any, /) -> int:
        operation = self._interposer.entered("write", self._path, size=memoryview(data).nbytes)
        written = super().write(data)
        self._interposer.left(operation)
        return written

    def readinto(self, buffer: Any, /) -> int:
        self._interposer.entered("read", self._path)
        return super().readinto(buffer)

    def readall(self) -> bytes:
        self._interposer.entered("read", self._path)
        return super().readall()


# --- faults -----------------------------------------------------------------------------------------------------------------------


class Unsynced:
    """Files with bytes that no fsync has made durable: a loss of power may cut them anywhere."""

    def __init__(self) -> None:
        self.paths: set[str] = set()

    def __call__(self, operation: Operation) -> None:
        match operation.name:
            case "write":
                self.paths.add(operation.path)
            case "fsync" | "unlink" | "remove":
                self.paths.discard(operation.path)
            case "rename" | "replace" | "link" if operation.source in self.paths:
                self.paths.add(operation.path)
            case _:
                pass


def kill_at(interposer: Interposer, number: int) -> None:
    kill_when(interposer, lambda operation: operation.number == number)


def kill_when(interposer: Interposer, fits: Callable[[Operation], bool]) -> None:
    """SIGKILL to the whole process group before an operation that fits."""

    def before(operation: Operation) -> None:
        if fits(operation):
            os.killpg(os.getpgrp(), signal.SIGKILL)

    interposer.before.append(before)


def tear_at(interposer: Interposer, number: int, seed: int) -> None:
    """As `kill_at`, after cutting each file that was not synced, and the write under way, at a random byte."""
    unsynced, rng = Unsynced(), random.Random(seed)

    def before(operation: Operation) -> None:
        if operation.number != number:
            return
        for path in sorted(unsynced.paths):
            with contextlib.suppress(OSError), open(path, "r+") as file:  # text mode: not watched
                os.ftruncate(file.fileno(), rng.randint(0, os.path.getsize(path)))
        os.killpg(os.getpgrp(), signal.SIGKILL)

    interposer.before.append(before)
    interposer.after.append(unsynced)


def kinds_that_fail(code: str) -> tuple[str, ...]:
    """A full disk can be read, and so can one that is read-only."""
    return CHANGING if code in ("ENOSPC", "EROFS") else CHANGING + LOOKING


def fail_at(interposer: Interposer, number: int, code: str, *, lasting: bool) -> None:
    """OSError `code` (`ENOSPC`, ...) instead of the operation of this number; `lasting`: of every later one too, as on a full disk."""

    def before(operation: Operation) -> None:
        if operation.number == number or (lasting and operation.number > number):
            value = getattr(errno, code)
            raise OSError(value, os.strerror(value), operation.path)

    interposer.before.append(before)


def log_to(interposer: Interposer, path: Path) -> None:
    """Append each operation to a file outside of the root, for whoever counts."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    interposer.after.append(lambda operation: os.write(log, f"{operation.name}\t{operation.source}\t{operation.path}\n".encode()) and None)
