"""Public host names for the local servers of a test: https, names that resolve to public addresses, and a network that leads there.

    with internet(monkeypatch, {"files.test": server}, authority) as net:
        ...  # https://files.test is `server`
        net.names["evil.test"] = "127.0.0.1"

Names are resolved and connections are made by Python as anywhere else; only the resolver's answers are the test's, and what goes to a
public address ends at a server of the test. Any other connection is refused.
"""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.servers import Server


@dataclass
class Internet:
    names: dict[str, str] = field(default_factory=dict[str, str])
    """Host name -> address."""
    routes: dict[str, Server] = field(default_factory=dict[str, Server])
    """Address -> server."""
    asked: list[str] = field(default_factory=list[str])
    """Names that were resolved, one after the other."""
    reached: list[str] = field(default_factory=list[str])
    """Addresses that somebody connected to."""

    def add(self, name: str, server: Server) -> None:
        address = f"8.8.8.{len(self.routes) + 1}"
        self.names[name], self.routes[address] = address, server


@dataclass(frozen=True)
class Authority:
    """A certificate for names, and what to trust for it."""

    context: ssl.SSLContext
    certificate: Path


def authority(folder: Path, names: list[str]) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "certificate.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *private))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, folder / "key.pem")
    return Authority(context, file)


def internet(monkeypatch: pytest.MonkeyPatch, servers: Mapping[str, Server], trusted: Authority) -> Internet:
    net = Internet()
    for name, server in servers.items():
        net.add(name, server)
    resolve, connect = socket.getaddrinfo, socket.socket.connect

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name in net.names:
            net.asked.append(name)
        return resolve(net.names.get(name, name), port, *args, **kwargs)

    def connect_to(self: socket.socket, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else ""
        public = bool(host) and ipaddress.ip_address(host).is_global
        if public:
            net.reached.append(host)
            if host not in net.routes:
                raise ConnectionRefusedError(f"no route to {host}")
            name, _, port = net.routes[host].host.partition(":")
            address = (name, int(port))
        connect(self, address)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket.socket, "connect", connect_to)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(trusted.certificate))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return net
