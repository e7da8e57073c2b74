"""Secrets by reference: looked up where the work runs, at the moment they are needed, and never stored."""

from __future__ import annotations

import os
from collections.abc import Callable

from rasterloom.errors import AccessDenied
from rasterloom.specs.references import Reference, substitute

Secrets = Callable[[Reference], str]
"""Gives the text behind a reference; raises `AccessDenied` where there is none."""


def environment_secrets(reference: Reference) -> str:
    """`${ENV}` from the environment of this process. Prefect blocks need the Prefect side (`rasterloom.tasks.secrets`)."""
    if reference.kind != "environment":
        raise AccessDenied(
            f"{reference} names a Prefect Secret block, which only a flow can read", remedy="run the flow, or use an environment variable"
        )
    value = os.environ.get(reference.name, reference.default)
    if value is None:
        raise AccessDenied(f"the environment variable {reference.name} is not set", remedy=f"set {reference.name} where the work runs")
    return value


def resolved(pairs: tuple[tuple[str, str], ...], secrets: Secrets) -> dict[str, str]:
    """`(name, text)` pairs with the references of the texts looked up."""
    return {name: substitute(text, secrets) for name, text in pairs}
