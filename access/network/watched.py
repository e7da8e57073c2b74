"""A transport of requests whose answers end within a deadline, however slowly the bytes of their head and body drip in before it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.response import HTTPResponse


class WatchedAdapter(HTTPAdapter):
    """`timeout` of requests is for one wait on the socket, and `iter_content` waits for a whole piece. For one request at a time."""

    def __init__(self) -> None:
        self.opened: socket.socket | None = None
        """Where the answer comes from."""
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        plain = type("Plain", (HTTPConnectionPool,), {"ConnectionCls": staticmethod(partial(_Connection, self))})
        secure = type("Secure", (HTTPSConnectionPool,), {"ConnectionCls": staticmethod(partial(_SecureConnection, self))})
        pools: Any = self.poolmanager
        pools.pool_classes_by_scheme = {"http": plain, "https": secure}

    @contextmanager
    def within(self, seconds: float) -> Generator[None]:
        """Cuts the connection when the time is over. Raises `requests.ReadTimeout`."""
        late = threading.Event()
        timer = threading.Timer(seconds, self._cut, (late,))
        timer.daemon = True
        timer.start()
        try:
            yield
        except requests.RequestException:
            if not late.is_set():
                raise
        finally:
            timer.cancel()
            self.opened = None
        if late.is_set():
            raise requests.ReadTimeout(f"the answer took longer than {seconds:.0f} s")

    def _cut(self, late: threading.Event) -> None:
        late.set()
        opened = self.opened
        if opened is not None:
            try:
                socket.socket.shutdown(opened, socket.SHUT_RDWR)
            except OSError:
                return  # it is closed already


class _Connection(HTTPConnection):
    """Shows its socket to the watch as soon as it waits for an answer."""

    def __init__(self, adapter: WatchedAdapter, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._adapter = adapter

    def getresponse(self) -> HTTPResponse:
        self._adapter.opened = self.sock
        return super().getresponse()


class _SecureConnection(_Connection, HTTPSConnection):
    """The same, encrypted."""
