"""A connection to one of the addresses of a host, or to the proxy in front of it."""

from __future__ import annotations

import base64
import socket
from http.client import HTTPResponse
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
