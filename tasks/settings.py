"""Prefect's settings for a run that this process makes itself, with the temporary server that Prefect starts for it."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import httpx
from prefect.client.orchestration import get_client
from prefect.logging.handlers import PrefectConsoleHandler
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

from rasterloom.access.redact import redact
from rasterloom.errors import Unavailable

LOCAL_DEFAULTS: Mapping[Any, Any] = {
    # 20 s is Prefect's default; migrations of a fresh home took up to 29 s on two loaded cores.
    "server.ephemeral.startup_timeout_seconds": 120,
    "server.analytics_enabled": False,
    "server.logging_level": "CRITICAL",
    # Events of task runs are written by the server in the background. With SQLite that locks out the run's own next request, which
    # the client then repeats after two seconds: a third of all runs lost them. Flow runs, logs and artifacts are written all the same.
    "server.services.task_run_recorder.enabled": False,
    "server.services.event_persister.enabled": False,
    "server.services.triggers.enabled": False,
}
"""Used where the user's environment, profile and prefect.toml say nothing. The `server` ones reach the temporary server alone."""

LOCAL_UPDATES: Mapping[Any, Any] = {
    # The heartbeat thread is joined in steps of one second at the end of every sync flow. It serves to find flows of dead
    # workers; a run of this process is seen by who started it.
    "flows.heartbeat_frequency": None,
}
"""Used in any case: no other way to say it (the setting refuses an empty value in the environment)."""


@contextmanager
def local_settings() -> Generator[None]:
    """For the block, Prefect's settings of a local run; what the user has set stands."""
    with ExitStack() as stack:
        if "level" not in get_current_settings().logging.model_fields_set:
            stack.enter_context(_quiet_console())
        stack.enter_context(temporary_settings(set_defaults=LOCAL_DEFAULTS, updates=LOCAL_UPDATES))
        yield


def reach_server() -> None:
    """Make sure that the API answers, and start the temporary server where no other one is named.

    Raises Unavailable where it does not. The temporary server ends with this process, also on SIGTERM while a flow runs; a process
    killed with SIGKILL leaves it behind.
    """
    api = PREFECT_API_URL.value()
    remedy = f"check that the Prefect server at {api} runs" if api else "see what is wrong with `prefect server start`"
    try:
        with get_client(sync_client=True) as client:
            error = client.api_healthcheck()
    except (RuntimeError, ValueError, httpx.HTTPError, OSError) as failure:  # Prefect raises them bare
        error = failure
    if error is not None:
        raise Unavailable(f"the Prefect API does not answer: {redact(str(error))}", remedy=remedy) from error
    if api is None:
        _stop_quietly_at_exit()


@cache
def _stop_quietly_at_exit() -> None:
    """Before Prefect's own exit handler, which would announce it; handlers run last in, first out."""
    atexit.register(_stop_temporary_server)


def _stop_temporary_server() -> None:
    with _quiet_console():
        SubprocessASGIServer().stop()


@contextmanager
def _quiet_console() -> Generator[None]:
    """For the block, Prefect prints nothing: our errors reach the caller as exceptions. Its logs go to the API as ever.

    By the level of the handlers, because Prefect reads its own logging settings once, when it is imported.
    """
    handlers = [handler for handler in logging.getLogger().handlers if isinstance(handler, PrefectConsoleHandler)]
    levels = [handler.level for handler in handlers]
    for handler in handlers:
        handler.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for handler, level in zip(handlers, levels, strict=True):
            handler.setLevel(level)
