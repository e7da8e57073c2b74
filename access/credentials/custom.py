"""Credentials from code of the user's own: an obstore credential provider, made where the work runs."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Mapping
from typing import Any, cast

from rasterloom.access.credentials.keys import AzureLike, Grant, Place, Provider
from rasterloom.errors import AccessDenied, SpecError
from rasterloom.specs.effort import Effort

_REMEDY = "give a pkg.module:factory that returns a synchronous obstore credential provider, and install it where the work runs"


class CustomKeys(AzureLike):
    """Buckets and containers of any kind, unless `auth.hosts` says which; web addresses of Azure blobs only where it names them."""

    own = None

    def __init__(self, options: Mapping[str, str], effort: Effort) -> None:
        super().__init__(options, effort)
        self._provider: Provider | None = None

    def _grant(self, place: Place) -> Grant | None:
        if place.kind == "web":
            return None
        provider = self._made()
        config = dict(getattr(provider, "config", None) or {})
        if place.kind == "s3" and self.options.get("region"):
            config["region"] = self.options["region"]
        return Grant(config=config, provider=provider)

    def is_blob(self, netloc: str) -> bool:
        return self.hosts is not None and super().is_blob(netloc)

    def check(self) -> None:
        self._made()

    def _made(self) -> Provider:
        if self._provider is None:
            self._provider = provider_of(self.options["object"], json.loads(self.options.get("params", "{}")))
        return self._provider


def provider_of(name: str, params: Mapping[str, Any]) -> Provider:
    """`pkg.module:factory`, called with `params`. Raises `SpecError` where that gives no credential provider, `AccessDenied` where it
    raises."""
    module, _, attribute = name.partition(":")
    if module.partition(".")[0] in sys.stdlib_module_names:
        # a spec may come from somebody else: `os:system` is no credential provider
        raise SpecError(f"{name} is of Python's own library, which has no credential providers", remedy=_REMEDY)
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise SpecError(f"{name} cannot be imported: {type(error).__name__}", remedy=_REMEDY) from None
    try:
        made = factory(**params)
    except Exception as error:  # noqa: BLE001 -- any error of foreign code, whose text may hold what `params` held
        raise AccessDenied(f"{name} raised {type(error).__name__}", remedy="see its documentation, and auth.custom.params") from None
    if not callable(made) or inspect.iscoroutinefunction(made) or inspect.iscoroutinefunction(type(made).__call__):
        raise SpecError(f"{name} gives no synchronous callable", remedy=_REMEDY)
    return cast(Provider, made)
