"""Planetary Computer: one SAS token per (account, container) of the hrefs, fetched when it is needed and never written."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from rasterloom.access.credentials.keys import AzureLike, Grant, Place
from rasterloom.access.credentials.leases import PROCESS_LEASES, Lease, lease
from rasterloom.access.network.http import Ask, Web
from rasterloom.errors import AccessDenied, SpecError, Unavailable, Unreadable

TOKENS = "https://planetarycomputer.microsoft.com/api/sas/v1/token"


class PlanetaryKeys(AzureLike):
    """`endpoint` is another token service; a `subscription_key` is sent to it and to nobody else."""

    def _grant(self, place: Place) -> Grant | None:
        if place.kind != "az":
            return None
        service, key = self.options.get("endpoint", TOKENS).rstrip("/"), self.options.get("subscription_key", "")

        def fetch() -> Lease:
            return self._token(service, key, place)

        renewing = PROCESS_LEASES.of(("sas", service, key, place.host, place.container), fetch)

        def provider() -> Mapping[str, Any]:
            now = renewing.current()
            return {"sas_token": now.value, "expires_at": now.renewal}

        return Grant(provider=provider, renewing=renewing)

    def _token(self, service: str, key: str, place: Place) -> Lease:
        what = f"the token for {place.host}/{place.container}"
        headers = {"Ocp-Apim-Subscription-Key": key} if key else {}
        web = Web(service, headers=headers, retries=self.effort.retries, timeout=self.effort.timeout)
        url = f"{service}/{quote(place.host, safe='')}/{quote(place.container, safe='$')}"
        try:
            document = web.json(Ask(url=url, what=what)).document
        except SpecError as error:
            # 404: not one of its containers
            remedy = "are these files of the Planetary Computer? auth.hosts says which storage accounts need a token"
            raise AccessDenied(error.message, remedy=remedy) from None
        except Unreadable:
            raise Unavailable(f"{web.origin} answered something that is no token to {what}", remedy="try again later") from None
        return _lease(document, f"{web.origin}: {what}")


def _lease(document: Any, what: str) -> Lease:
    token, expiry = (document.get(name) if isinstance(document, dict) else None for name in ("token", "msft:expiry"))
    try:
        ends = datetime.fromisoformat(expiry or "")
    except (TypeError, ValueError):
        ends = None
    if not isinstance(token, str) or not token or ends is None:
        raise Unavailable(f"{what} has no `token` and `msft:expiry`", remedy="check auth.endpoint, or try again later")
    return lease(token, ends if ends.tzinfo else ends.replace(tzinfo=UTC))
