"""How to get to a host: over a proxy of the machine, or to addresses that were checked; encrypted where its URL says so."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from rasterloom.access.network.dial import Opening, connected, through
from rasterloom.access.network.hosts import Addresses, Policy

Dial = Callable[[SplitResult], socket.socket]
"""Opens a connection to the host of a URL, or to the proxy in front of it."""
_GOOD = 60.0
"""Seconds for which the addresses of a name are good for further connections."""


class _Way(NamedTuple):
    addresses: Addresses
    """Checked."""
    until: float
    """Moment of `time.monotonic` from which on the name may mean something else."""


class Ways:
    """Of one client. Thread-safe."""

    def __init__(self, policy: Policy, dial: Dial | None) -> None:
        """`dial`: what opens all connections, in place of the machine's own way."""
        self._policy = policy
        self._proxies = getproxies() if dial is None else {}
        self._dial = dial
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None
        self._known: dict[tuple[str, str], _Way] = {}

    def find(self, parts: SplitResult) -> None:
        """Learn the addresses of the host of a URL, unless a proxy is in front of it. May wait.

        Raises `Unreadable` (`forbidden-host`), and OSError where it has none.
        """
        if self._dial is not None or self.finds(parts) or self._proxy(parts):
            return
        if parts.scheme == "https":
            self._tls()
        self._known[parts.scheme, parts.netloc] = _Way(self._addresses(parts), time.monotonic() + _GOOD)

    def finds(self, parts: SplitResult) -> bool:
        """Whether there is an `opening` there."""
        return self._way(parts) is not None

    def opening(self, parts: SplitResult) -> Opening | None:
        """A new connection that nobody waits for; None where the addresses are not known. Raises OSError."""
        way = self._way(parts)
        return Opening(way.addresses, self._tls() if parts.scheme == "https" else None, parts.hostname or "") if way else None

    def connected(self, parts: SplitResult) -> socket.socket:
        """A new connection. Raises `Unreadable` (`forbidden-host`), and OSError."""
        plain = (self._dial or self._dialled)(parts)
        if parts.scheme != "https":
            return plain
        try:
            return self._tls().wrap_socket(plain, server_hostname=parts.hostname)
        except BaseException:
            plain.close()
            raise

    def _way(self, parts: SplitResult) -> _Way | None:
        way = self._known.get((parts.scheme, parts.netloc))
        return way if way is not None and time.monotonic() < way.until else None

    def _tls(self) -> ssl.SSLContext:
        """Made once: reading the certificates takes milliseconds."""
        with self._lock:
            if self._context is None:
                context = ssl.create_default_context(cafile=os.environ.get("REQUESTS_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH)
                context.load_default_certs()
                self._context = context
            return self._context

    def _dialled(self, parts: SplitResult) -> socket.socket:
        proxy = self._proxy(parts)
        if proxy:
            return through(urlsplit(proxy if "://" in proxy else f"http://{proxy}"), parts.hostname or "", _port(parts))
        return connected(self._addresses(parts))

    def _addresses(self, parts: SplitResult) -> Addresses:
        return self._policy.addresses(parts.hostname or "", _port(parts))

    def _proxy(self, parts: SplitResult) -> str | None:
        proxy = self._proxies.get(parts.scheme) or self._proxies.get("all")
        return proxy if proxy and not proxy_bypass(parts.hostname or "") else None


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)
