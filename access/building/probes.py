"""Lines of a check: what was tried, how it went, and what to do about it. Every try ends, and leaves nothing behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar
from uuid import uuid4

from rasterloom.access.credentials.secrets import Secrets
from rasterloom.access.network.translate import FOREIGN, error_of
from rasterloom.access.workspace.files import Occupied, Workspace
from rasterloom.errors import RasterloomError, SpecError, Unavailable
from rasterloom.specs.references import Reference, references

LIMIT = 20.0
"""Seconds for one try with all its requests: a server may take every single one of them to its time-out."""
T = TypeVar("T")


class TooLong(Unavailable):
    """A try was given up when its time was over."""


State = Literal["ok", "note", "failed", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing that was checked."""

    check: str
    """E.g. `endpoint`, `bands`, `workspace`."""
    state: State
    """`note`: worth knowing, no obstacle; `skipped`: makes no sense after what failed."""
    tried: str
    result: str
    remedy: str = ""
    exit_code: int = 0
    """What a run would end with: 2 the spec, 3 access denied, 4 unavailable."""


def failed(check: str, tried: str, error: RasterloomError) -> Line:
    problems = error.problems if isinstance(error, SpecError) else ()
    result = "; ".join([error.message, *(f"{problem.path}: {problem.message}" for problem in problems)])
    remedy = "; ".join(part for part in (error.remedy, *(problem.remedy for problem in problems)) if part)
    return Line(check=check, state="failed", tried=tried, result=result, remedy=remedy, exit_code=error.exit_code)


@dataclass(slots=True)
class Tries:
    """Takes the lines of one spec as they come."""

    limit: float = LIMIT
    lines: list[Line] = field(default_factory=list[Line])

    def add(self, check: str, tried: str, result: str, *, state: State = "ok", remedy: str = "", exit_code: int = 0) -> None:
        self.lines.append(Line(check=check, state=state, tried=tried, result=result, remedy=remedy, exit_code=exit_code))

    def fail(self, check: str, tried: str, error: RasterloomError) -> None:
        self.lines.append(failed(check, tried, error))

    def skip(self, check: str, why: str) -> None:
        self.add(check, "", why, state="skipped")

    def run(self, check: str, tried: str, call: Callable[[], T]) -> T | None:
        """What `call` gives; None where it failed, which is a line then."""
        try:
            return within(self.limit, tried, call)
        except RasterloomError as error:
            self.fail(check, tried, error)
            return None

    def take(self) -> Iterator[Line]:
        """The lines since the last time."""
        taken, self.lines = self.lines, []
        yield from taken


def within(seconds: float, what: str, call: Callable[[], T]) -> T:
    """`call()` in a thread of its own, which is left to itself where it takes longer. Raises `TooLong`, and what `call` raises."""
    given: list[T] = []
    raised: list[RasterloomError] = []

    def work() -> None:
        try:
            given.append(call())
        except RasterloomError as error:
            raised.append(error)
        except FOREIGN as error:
            raised.append(error_of(what, error))

    thread = threading.Thread(target=work, name="probe", daemon=True)
    thread.start()
    thread.join(seconds)
    if raised:
        raise raised[0]
    if not given:
        raise TooLong(f"no end after {seconds:g} s", remedy="check the network and the host; try again later")
    return given[0]


def check_references(tries: Tries, texts: Sequence[str], secrets: Secrets) -> None:
    """Whether every reference stands for something. What it stands for is never shown."""
    found = dict.fromkeys(reference for text in texts for reference in references(text))
    missing = [reference for reference in found if not _stands(tries, reference, secrets)]
    good = [str(reference) for reference in found if reference not in missing]
    if good:
        tries.add("secrets", "looked up the references of the spec", f"{', '.join(good)}: there")


def _stands(tries: Tries, reference: Reference, secrets: Secrets) -> bool:
    def look() -> bool:
        secrets(reference)
        return True

    return tries.run("secrets", f"looked up {reference}", look) is not None


def check_writable(tries: Tries, check: str, place: Workspace) -> None:
    """Whether files can be made there, and only where there are none: what commits rest on. Takes away what it made."""
    tried = f"made a file in {place.uri}, and once more"
    if tries.run(check, tried, lambda: _made_once(place)):
        tries.add(check, tried, "writable; a second writer is refused; nothing is left behind")


def _made_once(place: Workspace) -> bool:
    key = f"_cache/probes/{uuid4().hex}"
    fresh = _missing_folders(place, key)
    try:
        place.create(key, b"1")
        if _second_wins(place, key) or place.read(key) != b"1":
            raise SpecError(
                f"{place.uri} overwrites a file that should only be made where there is none, so two builds could overwrite each other",
                remedy="choose a local disk, or a store with conditional writes (S3, GCS, Azure, a recent MinIO or Ceph)",
            )
    finally:
        place.delete(key)
        for folder in fresh:
            with suppress(OSError):  # somebody else has begun to use it
                folder.rmdir()
    return True


def _second_wins(place: Workspace, key: str) -> bool:
    try:
        place.create(key, b"2")
    except Occupied:
        return False
    return True


def _missing_folders(place: Workspace, key: str) -> list[Path]:
    """Folders that the probe will make, the innermost first."""
    path = place.local_path(key)
    return [] if path is None else [folder for folder in path.parents if not os.path.lexists(folder)]
