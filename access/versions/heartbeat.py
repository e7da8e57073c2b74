"""A run tells garbage collection that it is alive: `_inflight/<run id>.json`, renewed by a thread while the run works."""

from __future__ import annotations

import json
import threading
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any

from rasterloom.access.versions.commits import INFLIGHT, checked_name
from rasterloom.access.workspace.clock import SYSTEM, Clock
from rasterloom.access.workspace.files import Entry, Workspace
from rasterloom.errors import RasterloomError, Unavailable

EVERY = 60.0
"""Seconds between two beats."""
LEASE = timedelta(hours=12)
"""A run whose last beat is older commits nothing: garbage collection may be about to take its files."""
FRESH = timedelta(hours=24)
"""A run whose last beat is younger is taken to be alive. Longer than the lease by more than clocks of two machines differ."""


class Heartbeat:
    """Held by a build as a context manager, from before it writes its first file until after its commit.

    Protects the version directories `<run id>` and `<run id>-*`, and what is staged in the workspace. A process that is killed
    leaves its file behind, which then grows old. A beat that cannot be written is tried again at the next.
    """

    def __init__(self, workspace: Workspace, name: str, run_id: str, *, clock: Clock = SYSTEM) -> None:
        self._workspace, self._name, self._run_id, self._clock = workspace, checked_name(name), run_id, clock
        self._last = clock.now()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"heartbeat {run_id}", daemon=True)

    def __enter__(self) -> Heartbeat:
        self.beat()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        try:
            self._workspace.delete(heartbeat_key(self._name, self._run_id))
        except RasterloomError:
            # It grows old by itself; the error of the block, if there is one, is the one to tell.
            return

    def beat(self) -> None:
        """Write the file anew."""
        now = self._clock.now()
        self._workspace.write(heartbeat_key(self._name, self._run_id), json.dumps({"run_id": self._run_id, "at": now.isoformat()}).encode())
        self._last = now

    def check(self) -> None:
        """Right before the commit. Raises Unavailable where the run was out of touch for so long that its files may be gone."""
        if self._clock.now() - self._last > LEASE:
            raise Unavailable(
                f"{self._name}: the run {self._run_id} was asleep or cut off from its workspace since {self._last:%Y-%m-%d %H:%M}",
                remedy="run again: what was read is remembered",
            )

    def _renew(self) -> None:
        while not self._ended.wait(EVERY):
            try:
                self.beat()
            except RasterloomError:
                continue


def heartbeat_key(name: str, run_id: str) -> str:
    return f"{name}/{INFLIGHT}/{run_id}.json"


def run_of(entry: Entry) -> str:
    """The run of a heartbeat file."""
    return entry.key.rsplit("/", 1)[-1].removesuffix(".json")


def is_fresh(workspace: Workspace, entry: Entry, now: datetime, *, within: timedelta = FRESH) -> bool:
    """Whether the run of a heartbeat file may be alive, by what it says itself or by when it was written, the later of both."""
    return now - max(_said(workspace.read(entry.key)), entry.modified) < within


def _said(data: bytes | None) -> datetime:
    long_ago = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
    try:
        document: dict[str, Any] = json.loads(data) if data else {}
        said = datetime.fromisoformat(document["at"])
        return said if said.tzinfo is not None else long_ago
    except (ValueError, KeyError, TypeError):
        return long_ago
