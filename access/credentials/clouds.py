"""Azure and Google: keys by reference, and what obstore finds in the environment and on the machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rasterloom.access.credentials.keys import BLOB_HOST, AzureLike, Grant, Keys, Place, Provider
from rasterloom.access.credentials.machine import answers
from rasterloom.errors import AccessDenied

_IDENTITY = "http://169.254.169.254/metadata/instance?api-version=2021-02-01"
_GOOGLE = "http://metadata.google.internal/computeMetadata/v1/"
_AZURE_VARIABLES = (
    "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_MASTER_KEY", "AZURE_STORAGE_SAS_KEY", "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_TOKEN", "AZURE_CLIENT_SECRET", "AZURE_STORAGE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_USE_AZURE_CLI",
    "AZURE_MSI_ENDPOINT", "AZURE_IDENTITY_ENDPOINT",
)  # fmt: skip
_GOOGLE_VARIABLES = (
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_BEARER_TOKEN",
)
_ADC = "~/.config/gcloud/application_default_credentials.json"


class AzureKeys(AzureLike):
    """The account that `account_name` says, where it says one; else every account."""

    def __init__(self, options: Any, effort: Any) -> None:
        super().__init__(options, effort)
        account = options.get("account_name") or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", "")
        if account and "hosts" not in options:
            self.hosts = (account.lower(), f"{account.lower()}{BLOB_HOST}")

    def _grant(self, place: Place) -> Grant | None:
        if place.kind != "az":
            return None
        names = ("client_id", "client_secret", "tenant_id")
        config: dict[str, Any] = {name: self.options[name] for name in names if self.options.get(name)}
        if "client_secret" in config:
            config["credential_type"] = "client_secret"
        return Grant(config=config, provider=self._static())

    def _static(self) -> Provider | None:
        """By a provider, not by options: a key of the environment would go before a SAS of the spec."""
        if key := self.options.get("account_key"):
            return lambda: {"access_key": key, "expires_at": None}
        if sas := self.options.get("sas_key"):
            return lambda: {"sas_token": sas.removeprefix("?"), "expires_at": None}
        return None

    def check(self) -> None:
        given = any(self.options.get(name) for name in ("account_key", "sas_key", "client_secret"))
        if given or any(os.environ.get(name) for name in _AZURE_VARIABLES) or answers(_IDENTITY, {"Metadata": "true"}):
            return
        raise AccessDenied(
            "no Azure credentials were found: none in auth, no AZURE_STORAGE_* variables, no identity of this machine",
            remedy="set account_key, sas_key or client_id, client_secret and tenant_id in auth by reference, or AZURE_STORAGE_ACCOUNT_KEY",
        )


class GoogleKeys(Keys):
    """Any bucket, unless `auth.hosts` says which: tokens go to Google alone."""

    own = None

    def _grant(self, place: Place) -> Grant | None:
        if place.kind != "gs":
            return None
        config = {"service_account": self._file()} if self.options.get("service_account") else {}
        return Grant(config=config)

    def check(self) -> None:
        if self.options.get("service_account"):
            self._file()
            return
        found = any(os.environ.get(name) for name in _GOOGLE_VARIABLES) or Path(_ADC).expanduser().is_file()
        if not found and not answers(_GOOGLE, {"Metadata-Flavor": "Google"}):
            raise AccessDenied(
                "no Google credentials were found: no service account, no application default credentials, no role of this machine",
                remedy="set auth.service_account, or GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default login`",
            )

    def _file(self) -> str:
        path = Path(self.options["service_account"]).expanduser()
        if not path.is_file():
            raise AccessDenied(f"the Google service account file {path} is not there", remedy="correct auth.service_account")
        return str(path)
