"""NASA Earthdata: a bearer token for its web servers, and temporary S3 keys where its buckets are read directly.

Sources: urs.earthdata.nasa.gov "User Token" API (`find_or_create_token`), and the `s3credentials` endpoint of each data centre.
"""

from __future__ import annotations

import base64
import json
import netrc
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rasterloom.access.credentials.aws import config_of
from rasterloom.access.credentials.keys import Grant, Keys, Place
from rasterloom.access.credentials.leases import PROCESS_LEASES, Lease, Renewing, lease
from rasterloom.access.network.http import Ask, Web
from rasterloom.errors import AccessDenied, RasterloomError, SpecError, Unreadable

LOGIN = "urs.earthdata.nasa.gov"
REGION = "us-west-2"
_TOKEN_LIFE = timedelta(days=60)
_REMEDY = "set EARTHDATA_TOKEN, or EARTHDATA_USERNAME and EARTHDATA_PASSWORD, or a line for the login host in ~/.netrc"


class EarthdataKeys(Keys):
    """`endpoint` is an `s3credentials` URL: with it `s3://` files are read with temporary keys, which work in us-west-2 alone."""

    opens_web = True
    own = ("*.earthdata.nasa.gov", "*.earthdatacloud.nasa.gov")

    def grant(self, place: Place) -> Grant:
        # the buckets of the data centres have names of all kinds; temporary keys open nothing else, and a signature shows none of them
        if place.kind == "s3" and "hosts" not in self.options:
            return self._grant(place) or super().grant(place)
        return super().grant(place)

    def _grant(self, place: Place) -> Grant | None:
        match place.kind:
            case "web":
                bearer = self._bearer()
                return Grant(headers=(("Authorization", f"Bearer {bearer.current().value}"),), renewing=bearer)
            case "s3" if "endpoint" in self.options:
                return self._direct(self.options["endpoint"])
            case _:
                return None

    def check(self) -> None:
        self._bearer().current()

    def _bearer(self) -> Renewing:
        """A token as given, or one that the login host makes out of user and password."""
        if token := self.options.get("token") or os.environ.get("EARTHDATA_TOKEN"):
            return PROCESS_LEASES.of(("earthdata-token", token), lambda: lease(token, _jwt_end(token)))
        login = _login_url()
        user, password = self._user(login)

        def fetch() -> Lease:
            return self._made(login, user, password)

        return PROCESS_LEASES.of(("earthdata-login", login, user, password), fetch)

    def _user(self, login: str) -> tuple[str, str]:
        for user, password in (
            (self.options.get("username"), self.options.get("password")),
            (os.environ.get("EARTHDATA_USERNAME"), os.environ.get("EARTHDATA_PASSWORD")),
            _from_netrc(login),
        ):
            if user and password:
                return user, password
        raise AccessDenied(
            f"no Earthdata login was found: no token, no user and password, and ~/.netrc has none for {login}", remedy=_REMEDY
        )

    def _made(self, login: str, user: str, password: str) -> Lease:
        basic = base64.b64encode(f"{user}:{password}".encode()).decode()
        web = self._web(login, {"Authorization": f"Basic {basic}"})
        url = f"{login}/api/users/find_or_create_token"
        document = _json(web, Ask(url=url, method="POST", what="the Earthdata token"))
        token = document.get("access_token")
        if not isinstance(token, str) or not token:
            raise AccessDenied(f"{web.origin} gave no Earthdata token", remedy=_REMEDY)
        return lease(token, _jwt_end(token))

    def _direct(self, endpoint: str) -> Grant:
        bearer = self._bearer()

        def fetch() -> Lease:
            web = self._web(endpoint, {"Authorization": f"Bearer {bearer.current().value}"})
            document = _json(web, Ask(url=endpoint, what="the S3 credentials"))
            keys = {name: document.get(theirs) for name, theirs in _S3_KEYS.items()}
            ends = _moment(document.get("expiration"))
            if not all(isinstance(value, str) and value for value in keys.values()) or ends is None:
                raise AccessDenied(
                    f"{web.origin} gave no S3 credentials", remedy="check auth.endpoint, and the agreements of your Earthdata profile"
                )
            return lease(keys, ends)

        renewing = PROCESS_LEASES.of(("earthdata-s3", endpoint, id(bearer)), fetch)

        def provider() -> Mapping[str, Any]:
            now = renewing.current()
            return {**now.value, "expires_at": now.renewal}

        options = {key: value for key, value in self.options.items() if key != "endpoint"}
        return Grant(config={"region": REGION} | config_of(options), provider=provider, renewing=renewing)

    def _web(self, url: str, headers: Mapping[str, str]) -> Web:
        return Web(url, headers=headers, retries=self.effort.retries, timeout=self.effort.timeout)


_S3_KEYS = {"access_key_id": "accessKeyId", "secret_access_key": "secretAccessKey", "token": "sessionToken"}


def _json(web: Web, ask: Ask) -> Mapping[str, Any]:
    """Raises `AccessDenied` also for what an identity provider answers to a wrong login: a redirect, a web page, a 400."""
    try:
        document = web.json(ask).document
    except (SpecError, Unreadable) as error:
        message = error.message if isinstance(error, SpecError) else f"{web.origin} gave no answer to {ask.what}, but a redirect or a page"
        raise AccessDenied(message, remedy=_REMEDY) from None
    return document if isinstance(document, dict) else {}


def _login_url() -> str:
    """EARTHDATA_HOST names another login host, as in obstore and earthaccess; with a scheme it is a URL."""
    host = os.environ.get("EARTHDATA_HOST", LOGIN)
    return host.rstrip("/") if "://" in host else f"https://{host}"


def _from_netrc(login: str) -> tuple[str | None, str | None]:
    host = login.partition("://")[2].partition("/")[0].partition(":")[0]
    file = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        found = netrc.netrc(file).authenticators(host) if file.is_file() else None
    except (netrc.NetrcParseError, OSError, UnicodeDecodeError) as error:
        raise AccessDenied(f"{file} cannot be read: {type(error).__name__}", remedy="correct the file") from None
    return (found[0], found[2]) if found else (None, None)


def _jwt_end(token: str) -> datetime:
    """`exp` of the token, where it is a JWT that says so; else the longest life that Earthdata gives."""
    payload = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        end = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"]
        return datetime.fromtimestamp(float(end), UTC)
    except (ValueError, TypeError, KeyError, OverflowError, RasterloomError):
        return datetime.now(UTC) + _TOKEN_LIFE


def _moment(text: object) -> datetime | None:
    """`2026-11-25 19:30:00+00:00`, as the data centres write it."""
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)
