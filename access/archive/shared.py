"""Stores that outlive a batch: the next one finds its connections open, and hosts and hrefs checked."""

from __future__ import annotations

import hashlib
import os
import secrets as randomness
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rasterloom.access.archive.stores import Stores
from rasterloom.access.credentials.secrets import Secrets, resolved
from rasterloom.errors import AccessDenied
from rasterloom.specs.effort import AuthRef, Effort
from rasterloom.specs.question import CopySource, Question

MOST = 16
"""Sources of one process that are kept at the same time."""
LIFETIME = 600.0
"""Seconds: then keys, profile files and the addresses of names are looked up anew, and what the old ones made is let go."""
_CREDENTIALS = ("AWS_", "AZURE_", "GOOGLE_", "EARTHDATA_", "NETRC")
"""Environment variables that the clients of object stores read by themselves."""

Key = tuple[object, ...]


@dataclass(slots=True)
class SharedStores:
    """One `Stores` per source and credentials, for all threads of the process.

    A key holds a digest of the credentials and never the credentials: where they change, the old stores are not met any more.
    """

    clock: Callable[[], float] = time.monotonic
    _salt: bytes = field(default_factory=lambda: randomness.token_bytes(16))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _kept: dict[Key, tuple[float, Stores]] = field(default_factory=dict[Key, tuple[float, Stores]])
    """In the order in which they were made; with the moment of that."""

    def of(self, auth: AuthRef, *, effort: Effort, secrets: Secrets, source: str | None) -> Stores:
        """The stores of a source. Raises `SpecError` for an auth provider that this version does not know."""
        key = self._key(auth, effort, secrets, source)
        kept = self._known(key)
        if kept is None:
            # outside of the lock: whether the source is in a private network is asked of DNS, which may take its time
            kept = self._keep(key, Stores(auth, effort=effort, secrets=secrets, source=source))
        return kept

    def _known(self, key: Key) -> Stores | None:
        with self._lock:
            now = self.clock()
            for old in [kept for kept, (made, _) in self._kept.items() if now - made > LIFETIME]:
                del self._kept[old]
            return self._kept[key][1] if key in self._kept else None

    def _keep(self, key: Key, stores: Stores) -> Stores:
        """`stores`, or those that another thread has made in the meantime."""
        if not key:
            return stores
        with self._lock:
            _, kept = self._kept.setdefault(key, (self.clock(), stores))
            if len(self._kept) > MOST:
                del self._kept[next(iter(self._kept))]
            return kept

    def clear(self) -> None:
        self._lock = threading.Lock()
        self._kept.clear()

    def _key(self, auth: AuthRef, effort: Effort, secrets: Secrets, source: str | None) -> Key:
        """Empty where a secret is missing: the stores say so when they are asked."""
        try:
            options = resolved(auth.options, secrets)
        except AccessDenied:
            return ()
        around = {name: value for name, value in os.environ.items() if name.startswith(_CREDENTIALS)}
        digest = hashlib.blake2b(repr((options, sorted(around.items()))).encode(), key=self._salt).digest()
        return auth, source, effort.timeout, effort.allow_private_hosts, effort.limits, digest


_PROCESS = SharedStores()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_PROCESS.clear)  # connections and runtime of the parent are of no use there


def check_credentials(question: Question, *, effort: Effort, secrets: Secrets) -> None:
    """That what opens the files is there, before any work; nothing is asked for by a run that opens none.

    Raises `AccessDenied`, `SpecError`, `Unavailable`.
    """
    if question.reads_headers and not isinstance(question.source, CopySource):
        shared_stores(effort.auth, effort=effort, secrets=secrets, source=question.source.address).check()


def shared_stores(auth: AuthRef, *, effort: Effort, secrets: Secrets, source: str | None = None) -> Stores:
    """The stores of this process for a source: see `SharedStores.of`."""
    return _PROCESS.of(auth, effort=effort, secrets=secrets, source=source)
