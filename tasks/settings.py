"""Prefect's settings for a run that this process makes itself, with the temporary server that Prefect starts for it."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import httpx
from prefect.context import SettingsContext, get_settings_context
from prefect.events.clients import NullEventsClient
from prefect.events.worker import EventsWorker
from prefect.exceptions import PrefectHTTPStatusError
from prefect.logging.handlers import PrefectConsoleHandler
from prefect.settings import PREFECT_API_URL, Settings, get_current_settings

from rasterloom.access.network.ports import PORTS
from rasterloom.access.network.redact import redact
from rasterloom.errors import AccessDenied, Unavailable
from rasterloom.tasks.connection import Connection, connection

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
    """For the block, Prefect's settings of a local run; what the user has set stands.

    The temporary server ends with this process, also on SIGTERM inside the block. SIGKILL leaves it behind.
    """
    with ExitStack() as stack:
        stack.enter_context(_exit_on_sigterm())
        if _console_is_ours():
            stack.enter_context(_quiet_console())
        context = get_settings_context()
        stack.enter_context(SettingsContext(profile=context.profile, settings=_local(context.settings)))
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class _Local:
    """Prefect's settings as a local run has them, and what they were made of."""

    settings: Settings
    of: Settings
    environment: Mapping[str, str]


_made: list[_Local] = []
"""The last ones."""


def _local(of: Settings) -> Settings:
    """Made once for as long as nothing changes: Prefect validates all of its settings for each change of one of them, which takes 45 ms."""
    environment = {name: value for name, value in os.environ.items() if name.startswith("PREFECT_")}  # it is read again, too
    for last in _made:
        if last.environment == environment and (of is last.of or of is last.settings):
            return last.settings
    settings = of.copy_with_update(set_defaults=LOCAL_DEFAULTS, updates=LOCAL_UPDATES)
    _made[:] = [_Local(settings=settings, of=of, environment=environment)]
    return settings


@contextmanager
def _exit_on_sigterm() -> Generator[None]:
    """For the block, SIGTERM unwinds the process, so that its exit handlers run; only where nobody has said otherwise.

    Prefect marks its flow as crashed and then hands the signal to the handler before its own, by default the system's: that would
    end the process and leave the temporary server running.
    """
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def server_named() -> bool:
    """Whether the user has one; an empty PREFECT_API_URL, as a shell or a compose file leaves it, names none."""
    return bool(PREFECT_API_URL.value())


def reach_server() -> None:
    """Make sure that the API answers, and start the temporary server where no other one is named.

    Raises Unavailable where it does not.
    """
    with connected():
        pass


@contextmanager
def connected() -> Generator[Connection]:
    """For the block, one client of the API for all of Prefect's calls in this thread.

    Starts the temporary server where no other one is named, and asks it first questions: a server that calls itself healthy still
    needs up to a second for the first one, and 60 ms for the first that its database answers. Raises Unavailable where the API does not
    answer, AccessDenied where it has no place.
    """
    if not server_named():
        make_home(get_current_settings().home)
        _choose_port()
    with ExitStack() as stack:
        try:
            found = stack.enter_context(connection())
        except PrefectHTTPStatusError:
            raise
        except (RuntimeError, ValueError, httpx.HTTPError, OSError) as error:  # Prefect raises them bare
            raise _unanswered(error) from error
        if (error := found.client.api_healthcheck()) is not None:
            raise _unanswered(error) from error
        _ = found.records  # asked now, for the runs to come
        if _nobody_listens():
            stack.enter_context(_without_events())
        yield found


def _unanswered(error: Exception) -> Unavailable:
    api = PREFECT_API_URL.value()
    remedy = f"check that the Prefect server at {api} runs" if api else "see what is wrong with `prefect server start`"
    return Unavailable(f"the Prefect API does not answer: {redact(str(error))}", remedy=remedy)


def make_home(home: Path) -> None:
    """Prefect makes its home, but no directory above it; where it may not write it waits two minutes for a server that cannot begin."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=home).close()
    except OSError as error:
        remedy = "set PREFECT_HOME to a directory of yours, or PREFECT_API_URL to a server that runs"
        raise AccessDenied(f"Prefect cannot write to its home, {home}: {error.strerror}", remedy=remedy) from error


def _choose_port() -> None:
    """Give the temporary server, unless it runs, a port that no other process of this machine chooses.

    Prefect draws one of a thousand, and the server listens seconds later: of twenty runs that one minute of cron begins, two would draw
    the same in one case of six, and the one that is left without a server would use that of the other until that one ends.
    """
    from prefect.server.api.server import SubprocessASGIServer  # noqa: PLC0415 - half a second, and only where there is such a server

    server = SubprocessASGIServer()
    if server.port is None:
        first = os.getpid() + _of_container()
        ports = (PORTS[(first + step) % len(PORTS)] for step in range(0, len(PORTS), 997))
        server.port = next((port for port in ports if server.is_port_available(port)), None)


def _of_container() -> int:
    """A number of those processes whose ids are all different."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:  # not Linux
        return 0


def _nobody_listens() -> bool:
    """Whether events would go to a temporary server that records none of them."""
    services = get_current_settings().server.services
    listening = (services.task_run_recorder, services.event_persister, services.triggers)
    return not server_named() and not any(service.enabled for service in listening)


@contextmanager
def _without_events() -> Generator[None]:
    EventsWorker.set_client_override(NullEventsClient)
    try:
        yield
    finally:
        EventsWorker.set_client_override(None)


@contextmanager
def _quiet_console() -> Generator[None]:
    """For the block, Prefect prints nothing: our errors reach the caller as exceptions. Its logs go to the API as ever.

    By the level of the handlers, because Prefect reads its own logging settings once, when it is imported.
    """
    levels = {handler: handler.level for handler in _console()}
    _set_console_level(logging.CRITICAL)
    try:
        yield
    finally:
        for handler, level in levels.items():
            handler.setLevel(level)
        _end_quietly()


@cache
def _end_quietly() -> None:
    """Nor at the end of the process, where Prefect says what it still sends and, in an exit handler older than this one, what it stops."""
    for name in ("EventsWorker", "APILogWorker"):
        logging.getLogger(name).setLevel(logging.ERROR)
    atexit.register(_set_console_level, logging.CRITICAL)


def worker_environment() -> dict[str, str]:
    """Variables for processes that a run starts for its tasks: they print nothing either."""
    return {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"} if _console_is_ours() else {}


def _console_is_ours() -> bool:
    """Whether the user has said nothing about Prefect's log level."""
    return "level" not in get_current_settings().logging.model_fields_set


def _console() -> list[logging.Handler]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, PrefectConsoleHandler)]


def _set_console_level(level: int) -> None:
    for handler in _console():
        handler.setLevel(level)
