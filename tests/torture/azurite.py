"""Azurite, Microsoft's own stand-in for Azure's blob storage, with one container; TORTURE_AZURITE names its program `azurite-blob`."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from email.utils import formatdate
from urllib.parse import urlsplit

from tests.servers import free_port

ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Every Azurite's, and documented as such."""


@contextmanager
def azurite(program: str, container: str) -> Generator[str]:
    """URL of a server that keeps everything in memory."""
    port = free_port()
    options = ["--inMemoryPersistence", "--skipApiVersionCheck", "--silent", "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        make_container(f"http://127.0.0.1:{port}", container, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def make_container(url: str, container: str, process: subprocess.Popen[bytes]) -> None:
    stated = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    path = f"/{ACCOUNT}/{container}"
    text = "PUT" + "\n" * 12 + "".join(f"{name}:{value}\n" for name, value in stated.items()) + f"/{ACCOUNT}{path}\nrestype:container"
    signature = base64.b64encode(hmac.new(base64.b64decode(_KEY), text.encode(), hashlib.sha256).digest()).decode()
    headers = {**stated, "Authorization": f"SharedKey {ACCOUNT}:{signature}", "Content-Length": "0"}
    for _ in range(300):
        assert process.poll() is None, "Azurite ended"
        with suppress(OSError):
            connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
            connection.request("PUT", f"{path}?restype=container", headers=headers)
            assert connection.getresponse().status == 201
            return
        time.sleep(0.2)
    raise AssertionError("Azurite does not answer")


def environment(url: str) -> dict[str, str]:
    """What obstore reads."""
    return {"AZURE_STORAGE_USE_EMULATOR": "true", "AZURITE_BLOB_STORAGE_URL": url, "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT}
