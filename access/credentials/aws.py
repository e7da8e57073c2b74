"""AWS and its look-alikes: keys by reference, of the environment, of a profile, of the machine's role."""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from rasterloom.access.credentials.keys import Grant, Keys, Place, Provider
from rasterloom.access.credentials.machine import answers, extra
from rasterloom.errors import AccessDenied, SpecError

_PARTS = ("access_key_id", "secret_access_key", "session_token")
_METADATA = "http://169.254.169.254"
_ROLES = ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
"""Where a container is told what its role is; obstore follows them."""
_INDIRECT = ("sso_session", "sso_start_url", "role_arn", "credential_process", "credential_source", "login_session")
"""Keys of a profile that has credentials, but none in the file."""
_ASKED_AGAIN = timedelta(minutes=6)
"""obstore asks again when less than five minutes are left; boto3 renews by itself."""


def endpoint_of(options: Mapping[str, str]) -> str:
    """The S3 endpoint of the spec, else of the environment, as the AWS tools name it there; empty: AWS itself."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    return options.get("endpoint") or next((found for name in names if (found := os.environ.get(name))), "")


def config_of(options: Mapping[str, str]) -> dict[str, Any]:
    """What decides where and how a bucket is asked, credentials apart."""
    config: dict[str, Any] = {"region": options["region"]} if options.get("region") else {}
    if endpoint := endpoint_of(options):
        config |= {"endpoint": endpoint, "aws_endpoint_url_s3": endpoint}
    if options.get("requester_pays", "").strip().lower() in ("true", "1", "yes", "requester"):
        config["request_payer"] = True
    return config


class AwsKeys(Keys):
    """Any bucket, unless `auth.hosts` says which: a signature shows no secret, and goes to AWS or to the endpoint alone."""

    own = None

    def _grant(self, place: Place) -> Grant | None:
        if place.kind != "s3":
            return None
        found = self._found()
        if found is None:
            return Grant(config=config_of(self.options))
        region = {"region": found.region} if found.region and not _region_is_said(self.options) else {}
        return Grant(config=region | config_of(self.options), provider=found.provider)

    def _found(self) -> Profile | None:
        """The keys that this process has to give; None where obstore finds them: environment, container, instance."""
        given = {part: self.options[part] for part in _PARTS if self.options.get(part)}
        if given:
            return Profile(given)
        if name := self.options.get("profile"):
            return profile(name)
        if os.environ.get("AWS_ACCESS_KEY_ID") or _role_is_told():
            return None
        return profile(os.environ.get("AWS_PROFILE", "")) if os.environ.get("AWS_PROFILE") else _default_profile()

    def found(self) -> bool:
        """Whether there are any; asks at most the metadata service of the machine."""
        return self._found() is not None or bool(os.environ.get("AWS_ACCESS_KEY_ID")) or _role_is_told() or on_instance()

    def check(self) -> None:
        if not self.found():
            raise AccessDenied(
                "no AWS credentials were found: no AWS_ACCESS_KEY_ID, no keys in the profile 'default', no role of this machine",
                remedy="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or auth.profile, or use `auth: {provider: anonymous}`",
            )


class Profile:
    """Keys, and the region that stands beside them."""

    def __init__(self, keys: Mapping[str, str], region: str = "", provider: Provider | None = None) -> None:
        if provider is None and not (keys.get("access_key_id") and keys.get("secret_access_key")):
            raise SpecError("half of an AWS key pair is given", remedy="give both access_key_id and secret_access_key")
        self.region = region
        self.provider: Provider = provider or _static(keys)


def _static(keys: Mapping[str, str]) -> Provider:
    """By a provider, not by options: those would be mixed with what the environment has, e.g. its AWS_SESSION_TOKEN."""
    found = {
        "access_key_id": keys["access_key_id"],
        "secret_access_key": keys["secret_access_key"],
        "token": keys.get("session_token"),
        "expires_at": None,
    }
    return lambda: found


def profile(name: str) -> Profile:
    """A profile of the AWS files. Raises `AccessDenied` where it is not there, or has keys that only boto3 can get."""
    sections = _sections(name)
    merged = {key: value for section in sections for key, value in section.items()}
    keys = {part: merged[f"aws_{part}"] for part in _PARTS if merged.get(f"aws_{part}")}
    if "access_key_id" in keys:
        return Profile(keys, merged.get("region", ""))
    if any(merged.get(key) for key in _INDIRECT):
        return _by_boto3(name)
    what = "has no keys" if sections else "is not there"
    files = " and ".join(str(file) for file in _files())
    raise AccessDenied(f"the AWS profile {name!r} {what} (in {files})", remedy="correct auth.profile, or use AWS_* variables")


def _by_boto3(name: str) -> Profile:
    """SSO, assumed roles and credential processes are boto3's business."""
    boto3 = extra("boto3", "aws", f"the AWS profile {name!r} (SSO, a role or a process)")
    exceptions = extra("botocore.exceptions", "aws", f"the AWS profile {name!r}")
    try:
        session = boto3.session.Session(profile_name=name)
        credentials = session.get_credentials()
        frozen = credentials.get_frozen_credentials() if credentials else None
    except (exceptions.BotoCoreError, exceptions.ClientError) as error:
        raise AccessDenied(
            f"the AWS profile {name!r} gives no keys: {type(error).__name__}", remedy=f"aws sso login --profile {name}"
        ) from None
    if frozen is None:
        raise AccessDenied(f"the AWS profile {name!r} gives no keys", remedy=f"aws configure --profile {name}")

    def provider() -> Mapping[str, Any]:
        now = credentials.get_frozen_credentials()
        return {
            "access_key_id": now.access_key,
            "secret_access_key": now.secret_key,
            "token": now.token,
            "expires_at": datetime.now(UTC) + _ASKED_AGAIN,
        }

    return Profile({}, session.region_name or "", provider)


def _default_profile() -> Profile | None:
    merged = {key: value for section in _sections("default") for key, value in section.items()}
    usable = merged.get("aws_access_key_id") or any(merged.get(key) for key in _INDIRECT)
    return profile("default") if usable else None


def _files() -> tuple[Path, Path]:
    """Of what both hold, the credentials file wins: it is read last."""
    return (
        Path(os.environ.get("AWS_CONFIG_FILE", "~/.aws/config")).expanduser(),
        Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")).expanduser(),
    )


def _sections(name: str) -> list[dict[str, str]]:
    config, credentials = _files()
    wanted = ((config, "default" if name == "default" else f"profile {name}"), (credentials, name))
    return [section for file, title in wanted if (section := _section(file, title)) is not None]


def _section(file: Path, title: str) -> dict[str, str] | None:
    parser = configparser.RawConfigParser(default_section="", strict=False)
    try:
        parser.read(file, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise AccessDenied(f"{file} cannot be read: {type(error).__name__}", remedy="correct the file") from None
    return dict(parser.items(title)) if parser.has_section(title) else None


def _region_is_said(options: Mapping[str, str]) -> bool:
    return bool(options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"))


def _role_is_told() -> bool:
    return any(os.environ.get(name) for name in _ROLES)


def on_instance() -> bool:
    """Whether this machine is an instance of EC2 (or looks like one)."""
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return False
    return _answers(os.environ.get("AWS_METADATA_ENDPOINT", _METADATA))


@lru_cache
def _answers(url: str) -> bool:
    """A machine stays what it is: asked once per process."""
    return answers(f"{url.rstrip('/')}/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, method="PUT")
