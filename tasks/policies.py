"""What Prefect may remember of a task, what it may read back, and what it tries again."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypedDict

from prefect.cache_policies import CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.serializers import (
    CompressedJSONSerializer,
    CompressedPickleSerializer,
    CompressedSerializer,
    JSONSerializer,
    PickleSerializer,
    Serializer,
)
from prefect.tasks import Task, exponential_backoff
from pydantic import Field, model_validator

from rasterloom.access.build import batch_ref_is_whole, search_ref_is_whole
from rasterloom.access.network.hosts import LONGEST_WAIT
from rasterloom.access.network.redact import redact
from rasterloom.access.reads.units import MadeRef, made_ref_is_whole
from rasterloom.access.refs import from_json, to_json
from rasterloom.access.values import BatchRef, SearchRef
from rasterloom.errors import RasterloomError, Unavailable

RECORD_VERSION = 1
"""Part of every key: raised when a task's answer to the same inputs changes, so that nothing older is ever taken for it."""


# --- What is remembered ------------------------------------------------------------------------------------------------------------


@dataclass
class ContentKey(CachePolicy):
    """Keys made of what decides a task's answer, and of nothing else.

    Not Prefect's own INPUTS, which changes with credentials and concurrency, nor TASK_SOURCE, which sees a comment but not a
    helper. Everything here is a path in the result storage: `rasterloom/<namespace>/v1/<64 hex digits>`.
    """

    namespace: str = ""
    digest: Callable[[Mapping[str, Any]], str | None] | None = None
    """Task inputs -> 64 hex digits, or None where the answer must not be remembered."""

    def compute_key(  # the arguments are Prefect's
        self,
        task_ctx: TaskRunContext,  # noqa: ARG002
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> str | None:
        digest = self.digest(inputs) if self.digest else None
        return f"rasterloom/{self.namespace}/v{RECORD_VERSION}/{digest}" if digest else None


# --- What is read back -------------------------------------------------------------------------------------------------------------


class RecordRefused(RasterloomError):
    """A record of the result storage that we do not read. Prefect takes it for a miss and the task runs."""


Reference = SearchRef | BatchRef | MadeRef
_REFERENCES: dict[str, tuple[type[Reference], Callable[[dict[str, Any]], bool]]] = {
    "search": (SearchRef, search_ref_is_whole),
    "batch": (BatchRef, batch_ref_is_whole),
    "units": (MadeRef, made_ref_is_whole),
}


class ArtifactRefSerializer(Serializer):
    """JSON of a reference to an artifact; reading it back fails unless that artifact is there, unchanged and complete.

    Prefect deserialises a record to see whether it exists and takes any exception for "no", so a hit is always real.
    """

    type: str = Field(default="rasterloom-reference", frozen=True)

    def dumps(self, obj: Any) -> bytes:
        return json.dumps(_document(obj), allow_nan=False).encode()

    def loads(self, blob: bytes) -> Reference:
        document = json.loads(blob)
        kind = document.get("kind")
        if kind not in _REFERENCES:
            raise RecordRefused(f"a record of kind {kind!r} is no reference")
        cls, is_whole = _REFERENCES[kind]
        if not is_whole(document["value"]):
            raise RecordRefused(f"the artifact behind a remembered {kind} is gone, changed or incomplete")
        return from_json(cls, document["value"])


def _document(obj: Any) -> dict[str, Any]:
    if isinstance(obj, BaseException):  # Prefect writes the exception of a failed task where it would write its result
        return {"kind": "error", "value": {"class": type(obj).__name__, "message": redact(str(obj))}}
    return {"kind": next(kind for kind, (cls, _) in _REFERENCES.items() if isinstance(obj, cls)), "value": to_json(obj)}


_references_only: ContextVar[bool] = ContextVar("rasterloom_references_only", default=False)


@contextmanager
def references_only() -> Generator[None]:
    """For the block, and the tasks submitted in it, no record is read but our own references.

    A record names the serializer that reads it: one planted in the result storage that says `pickle` would run its code, whatever
    the task says; `json` and `compressed` import what the record names. Other flows of the process keep theirs.
    """
    token = _references_only.set(True)
    try:
        yield
    finally:
        _references_only.reset(token)


class _Guarded(Serializer):
    """Mixin: neither made with options nor read while `references_only` holds."""

    type: str = Field(default="rasterloom-guarded", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_options(cls, data: Any) -> Any:
        # Options name modules, which validation already imports.
        if _references_only.get() and isinstance(data, dict) and set(data) - {"type"}:
            raise ValueError("records with options of their own are not read")
        return data

    def loads(self, blob: bytes) -> Any:
        if _references_only.get():
            raise RecordRefused(f"a record written by {self.type!r} is not read: it could run code")
        return super().loads(blob)


with warnings.catch_warnings():
    # Each of these takes the place of Prefect's class of that name in Prefect's registry, and Prefect warns of it.
    warnings.simplefilter("ignore", UserWarning)

    class GuardedPickle(_Guarded, PickleSerializer):
        type: str = Field(default="pickle", frozen=True)

    class GuardedJson(_Guarded, JSONSerializer):
        type: str = Field(default="json", frozen=True)

    class GuardedCompressed(_Guarded, CompressedSerializer):
        type: str = Field(default="compressed", frozen=True)

    class GuardedCompressedPickle(_Guarded, CompressedPickleSerializer):
        type: str = Field(default="compressed/pickle", frozen=True)

    class GuardedCompressedJson(_Guarded, CompressedJSONSerializer):
        type: str = Field(default="compressed/json", frozen=True)


# --- What is tried again -----------------------------------------------------------------------------------------------------------


class Retries(TypedDict):
    retries: int
    retry_delay_seconds: Callable[[int], list[float]]
    retry_jitter_factor: float
    retry_condition_fn: Callable[[Task[Any, Any], TaskRun, State[Any]], bool]


def is_unavailable(_task: Task[Any, Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether another try may help: only where a service or a disk did not do its work, and does not want to be left alone for long."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, Unavailable) and (error.retry_after or 0.0) <= LONGEST_WAIT


UNAVAILABLE_ONLY = Retries(
    retries=2,
    # After the tries of each request and the waits that a host asked for (rasterloom.access.network.hosts): a batch is 2 s of work.
    retry_delay_seconds=exponential_backoff(2),
    retry_jitter_factor=0.5,
    retry_condition_fn=is_unavailable,
)
