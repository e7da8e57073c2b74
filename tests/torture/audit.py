"""What would be lost if the power failed at a commit: a model of a disk that keeps only what was synced.

Bytes are durable when their file was synced after they were written; a name is durable when its directory was synced after the name
appeared. The model is fed with operations, from inside the process (`interpose`) or from the kernel's side (`strace`).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

_COMMIT = re.compile(r"/_commits/\d+\.json$")


@dataclass(frozen=True, slots=True)
class Step:
    """One operation: `create`, `write`, `fsync`, `link`, `rename`, `mkdir`, `symlink`, `unlink`."""

    name: str
    path: str
    source: str = ""


@dataclass(slots=True)
class Audit:
    """Judges each commit at the moment at which it becomes visible, and what came of it at the end."""

    root: str
    dirty: set[str] = field(default_factory=set[str])
    """Files with unsynced bytes."""
    pending: set[str] = field(default_factory=set[str])
    """Names that no sync of their directory has made durable."""
    commits: list[str] = field(default_factory=list[str])
    faults: list[str] = field(default_factory=list[str])

    def take(self, step: Step) -> None:
        match step.name:
            case "create" | "mkdir" | "symlink":
                self.pending.add(step.path)
            case "write":
                self.dirty.add(step.path)
            case "fsync":
                self.dirty.discard(step.path)
                self.pending -= {name for name in self.pending if os.path.dirname(name) == step.path}
            case "unlink":
                self.dirty.discard(step.path)
                self.pending.discard(step.path)
            case "link" | "rename":
                self._named(step)
            case _:
                raise ValueError(step.name)
        if step.name in ("link", "rename", "create") and _COMMIT.search(step.path):
            self._judge(step)

    def end(self) -> None:
        """The builder was told that it succeeded: its commits must be durable by now."""
        for commit in self.commits:
            self.faults += [f"{commit} was acknowledged, but {problem}" for problem in self._lost(commit)]

    def _named(self, step: Step) -> None:
        if step.source in self.dirty:
            self.dirty.add(step.path)
        self.pending.add(step.path)
        if step.name == "rename":
            self.dirty.discard(step.source)
            self.pending.discard(step.source)

    def _judge(self, step: Step) -> None:
        """All that a commit names must be durable before the commit is there."""
        self.commits.append(step.path)
        if step.path in self.dirty:
            self.faults.append(f"{step.path}: the commit's own bytes are not synced")
        home = os.path.dirname(os.path.dirname(step.path))
        commit = json.loads(Path(step.path).read_bytes())
        named = [f"{home}/_versions/{commit['dir']}/{file['path']}" for file in commit["files"]]
        named += [f"{home}/{commit['failures']}"] if commit["failures"] else []
        self.faults += [f"at commit {commit['version']}, {problem}" for path in named for problem in self._lost(path)]

    def _lost(self, path: str) -> Iterator[str]:
        if path in self.dirty:
            yield f"bytes of {path} are not synced"
        while path.startswith(self.root):
            if path in self.pending:
                yield f"the name {path} is not synced"
            path = os.path.dirname(path)


def audited(root: str, steps: Iterable[Step]) -> Audit:
    audit = Audit(os.path.realpath(root))
    for step in steps:
        audit.take(step)
    audit.end()
    return audit


# --- from inside the process ------------------------------------------------------------------------------------------------------

_INSIDE = {"open-write": "create", "replace": "rename", "remove": "unlink"}


def steps_in_log(log: Path) -> Iterator[Step]:
    """The log of `interpose.log_to`."""
    known: set[str] = set()
    for line in log.read_text().splitlines():
        name, source, path = line.split("\t")
        step = Step(_INSIDE.get(name, name), path, source)
        if step.name == "rmdir" or (step.name == "create" and path in known):
            continue
        known.add(path)
        yield step


# --- from the kernel's side -------------------------------------------------------------------------------------------------------

TRACED = (
    "openat,write,pwrite64,writev,fsync,fdatasync,rename,renameat,renameat2,link,linkat,mkdir,mkdirat,symlink,symlinkat,unlink,unlinkat"
)
_CALL = re.compile(r"^(?:\d+ +)?(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)")
_DESCRIPTOR = re.compile(r"(\w+)<([^>]*)>")
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')


def steps_in_trace(trace: Path, root: str) -> Iterator[Step]:
    """The output of `strace -f -y -e trace=TRACED`; calls that failed, and files elsewhere, are left out."""
    for line in _whole_lines(trace.read_text(errors="replace").splitlines()):
        call = _CALL.match(line)
        if call is None or int(call["result"]) < 0:
            continue
        for step in _steps_of(call["name"], call["arguments"]):
            if step.path.startswith(root):
                yield step


def _whole_lines(lines: Iterable[str]) -> Iterator[str]:
    """Joins what strace splits when threads interleave."""
    begun: dict[str, str] = {}
    for line in lines:
        thread = line.split(" ", 1)[0]
        if line.endswith("<unfinished ...>"):
            begun[thread] = line.removesuffix(" <unfinished ...>")
        elif " resumed>" in line:
            yield begun.pop(thread, "") + line.partition(" resumed>")[2]
        else:
            yield line


def _steps_of(name: str, arguments: str) -> Iterator[Step]:
    descriptors = [match[2] for match in _DESCRIPTOR.finditer(arguments)]
    texts = [match[1] for match in _TEXT.finditer(arguments)]
    if name in ("write", "pwrite64", "writev"):
        yield Step("write", descriptors[0] if descriptors else "")
    elif name in ("fsync", "fdatasync"):
        yield Step("fsync", descriptors[0])
    elif name == "openat":
        if "O_CREAT" in arguments:
            yield Step("create", texts[0])
    elif texts:
        plain = name.rstrip("2").removesuffix("at")
        yield Step(plain, texts[-1], texts[0] if len(texts) > 1 else "")
