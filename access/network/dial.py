"""A connection to one of the addresses of a host, or to the proxy in front of it."""

from __future__ import annotations

import base64
import os
import socket
import ssl
from collections.abc import Iterator
from http.client import HTTPResponse
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any
from urllib.parse import SplitResult, unquote

from rasterloom.access.network.hosts import Addresses

CONNECT_TIMEOUT = 10.0


def connected(addresses: Addresses) -> socket.socket:
    """A connection to the first of these addresses that takes it. Raises OSError."""
    refusal: OSError = ConnectionRefusedError("the host has no address")
    for family, kind, protocol, _, address in addresses:
        opened = socket.socket(family, kind, protocol)
        try:
            opened.settimeout(CONNECT_TIMEOUT)
            opened.connect(address)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            opened.close()
            refusal = error
        else:
            return opened
    raise refusal


class Opening:
    """A connection that opens while its owner does something else."""

    __slots__ = ("_addresses", "_context", "_name", "_reached", "socket")

    def __init__(self, addresses: Addresses, context: ssl.SSLContext | None, name: str) -> None:
        """`context`: of what is encrypted, for a server of this `name`. Raises OSError where no address takes a connection."""
        self._addresses: Iterator[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]] = iter(addresses)
        self._context = context
        self._name = name
        self._reached = False
        self.socket = self._begun(ConnectionRefusedError("the host has no address"))

    def _begun(self, refusal: OSError) -> socket.socket:
        """To the next address. Raises the refusal of the last one."""
        for family, kind, protocol, _, address in self._addresses:
            opened = socket.socket(family, kind, protocol)
            opened.setblocking(False)
            try:
                opened.connect(address)
                self._reached = True
            except BlockingIOError:
                pass
            except OSError as error:
                opened.close()
                refusal = error
                continue
            return opened
        raise refusal

    def close(self) -> None:
        self.socket.close()

    def proceed(self) -> int:
        """To be called when `socket`, which may be another one afterwards, is ready for what was answered before (at first EVENT_WRITE).

        0: it is open. Raises OSError, and leaves nothing open.
        """
        try:
            return self._proceeded()
        except OSError:
            self.close()
            raise

    def _proceeded(self) -> int:
        if not self._reached:
            code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self.socket.close()
                self.socket = self._begun(OSError(code, os.strerror(code)))
                return EVENT_WRITE
            self._reached = True
        if self._context is None:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return 0
        if not isinstance(self.socket, ssl.SSLSocket):
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket = self._context.wrap_socket(self.socket, server_hostname=self._name, do_handshake_on_connect=False)
        try:
            self.socket.do_handshake()
        except ssl.SSLWantReadError:
            return EVENT_READ
        except ssl.SSLWantWriteError:
            return EVENT_WRITE
        return 0


def through(proxy: SplitResult, host: str, port: int) -> socket.socket:
    """A tunnel of the machine's proxy. The proxy is the administrator's: it may be anywhere, and decides itself where it connects to."""
    tunnel = connected(socket.getaddrinfo(proxy.hostname, proxy.port or 80, type=socket.SOCK_STREAM))
    words = f"{unquote(proxy.username or '')}:{unquote(proxy.password or '')}".encode()
    user = f"Proxy-Authorization: Basic {base64.b64encode(words).decode()}\r\n" if proxy.username else ""
    try:
        tunnel.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{user}\r\n".encode("ascii"))
        answer = HTTPResponse(tunnel, method="CONNECT")
        answer.begin()
        if answer.status != 200:
            raise ConnectionRefusedError(f"the proxy answered with status {answer.status}")
    except BaseException:
        tunnel.close()
        raise
    return tunnel
