"""Secrets where the work runs: from the environment, and from Prefect's Secret blocks."""

from __future__ import annotations

from typing import Any, cast

from prefect.blocks.system import Secret

from rasterloom.access.credentials.secrets import environment_secrets
from rasterloom.errors import AccessDenied
from rasterloom.specs.references import Reference


def secret(reference: Reference) -> str:
    """What a reference stands for. Raises AccessDenied where it stands for nothing, or for something that is no text.

    `${secret.block-name}` is the Secret block of that name on the Prefect server of the run.
    """
    return _block(reference.name) if reference.kind == "block" else environment_secrets(reference)


def _block(name: str) -> str:
    remedy = f"make a Secret block named {name!r} on the Prefect server that this run talks to, or use ${{ENV}}"
    try:
        block = cast("Secret[Any]", Secret.load(name, _sync=True))  # pyright: ignore[reportCallIssue]  (an option of Prefect's dispatcher)
    except ValueError as error:  # Prefect's word for a block that is not there
        raise AccessDenied(f"there is no Prefect Secret block {name!r}", remedy=remedy) from error
    value = block.value.get_secret_value()  # not get(), which makes a number of a password of digits
    if not isinstance(value, str):
        raise AccessDenied(f"the Prefect Secret block {name!r} holds no text", remedy="store one text in it, not JSON")
    return value
