"""References to secrets and settings: `${ENV}`, `${ENV:-default}` and `${secret.block-name}`.

They stand in a spec in place of the value and are resolved where the work runs, never here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rasterloom.errors import Problem, SpecError

_REFERENCE = re.compile(r"\$\{(?:secret\.(?P<block>[a-z0-9][a-z0-9-]*)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^{}]*))?)\}")
_OPENED = re.compile(r"\$\{")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    kind: Literal["environment", "block"]
    """`block`: a Prefect Secret block."""
    name: str
    default: str | None = None
    """Used where an environment variable is not set."""

    def __str__(self) -> str:
        if self.kind == "block":
            return f"${{secret.{self.name}}}"
        return f"${{{self.name}}}" if self.default is None else f"${{{self.name}:-{self.default}}}"


def references(text: str) -> tuple[Reference, ...]:
    """All references of `text`, in order. Raises `SpecError` where a `${` begins none."""
    found = tuple(_reference(match) for match in _REFERENCE.finditer(text))
    if len(found) != len(_OPENED.findall(text)):
        message = "a `${` begins no reference"
        problem = Problem(message=message, remedy="write ${ENV_VARIABLE}, ${ENV_VARIABLE:-default} or ${secret.block-name}")
        raise SpecError("the spec is wrong", problems=[problem])
    return found


def substitute(text: str, lookup: Callable[[Reference], str]) -> str:
    """`text` with every reference replaced by what `lookup` gives. What it gives is not read again."""
    references(text)
    return _REFERENCE.sub(lambda match: lookup(_reference(match)), text)


def _reference(match: re.Match[str]) -> Reference:
    if match["block"]:
        return Reference(kind="block", name=match["block"])
    return Reference(kind="environment", name=match["name"], default=match["default"])
