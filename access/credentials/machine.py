"""What this machine has of its own: whether it is one of a cloud's, with a role that hands out credentials."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

import requests

from rasterloom.errors import AccessDenied

PROBE_TIMEOUT = 1.0
"""Seconds: the metadata service of a cloud is next to the machine, or is not there."""


def answers(url: str, headers: dict[str, str], method: str = "GET") -> bool:
    """Whether a metadata service answers, by whatever status. Never through a proxy."""
    session = requests.Session()
    session.trust_env = False
    try:
        with session.request(method, url, headers=headers, timeout=PROBE_TIMEOUT, allow_redirects=False):
            return True
    except requests.RequestException:
        return False


def extra(module: str, name: str, what: str) -> ModuleType:
    """A module that only `rasterloom[name]` installs. Raises AccessDenied that names the extra."""
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        raise AccessDenied(
            f"{what} needs the package {module.partition('.')[0]!r}, which is not installed", remedy=f"pip install 'rasterloom[{name}]'"
        )
    return importlib.import_module(module)
