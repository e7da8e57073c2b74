"""Limits of hosts that hold for all runs of a Prefect server: its global concurrency limits named `host:NAME`.

Inside a process the gates of `rasterloom.access.network.hosts` count requests one by one. Over processes that would cost more than
the requests (0.2 s for each, and waiters that sleep for seconds), so a task takes as many slots as it may have requests under way,
once.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from contextlib import ExitStack, contextmanager

import httpx
from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.exceptions import PrefectHTTPStatusError

from rasterloom.access.network.hosts import PROCESS_GATES
from rasterloom.access.network.redact import redact
from rasterloom.errors import Unavailable
from rasterloom.tasks.settings import server_named

PREFIX = "host:"
LEASE = 60.0
"""Seconds after which the slots of a killed process are free again; renewed while the task runs."""
PAGE = 200


def limit_name(host: str) -> str:
    """As the server keeps it: `host:data.example.org:8443`, `host:s3:bucket`, because a name there has no slash."""
    return PREFIX + host.lower().replace("://", ":").replace("/", ":")


def global_limits() -> Mapping[str, int]:
    """Active limits by name. Empty where no server is named: the temporary one of a run has no others beside it.

    Raises `Unavailable`, for the task to be tried again: a limit that was set is kept, or nothing is asked.
    """
    if not server_named():
        return {}
    try:
        with get_client(sync_client=True) as client:
            found = client.read_global_concurrency_limits(limit=PAGE)
    except (httpx.HTTPError, PrefectHTTPStatusError) as error:
        message = f"the Prefect server does not tell the limits of hosts: {redact(str(error))}"
        raise Unavailable(message, remedy="see whether the server at PREFECT_API_URL runs") from error
    return {each.name: each.limit for each in found if each.active and each.name.startswith(PREFIX)}


@contextmanager
def host_slots(hosts: Collection[str], *, most: int, own: Mapping[str, int]) -> Generator[None]:
    """For the block, slots of every host that has a limit: `most`, or fewer where the limit or that of the spec (`own`) is lower.

    Waits until they are free. The gates of this process keep to what was taken.
    """
    limits = global_limits() if any(hosts) else {}
    limited = [host for host in hosts if limits.get(_name(limits, host))]
    taken = {name: min(most, limits[name]) for name in sorted({_name(limits, host) for host in limited})}
    for host in limited:
        taken[_name(limits, host)] = min(taken[_name(limits, host)], own.get(host, most))
    with ExitStack() as stack:
        for name, slots in taken.items():  # in one order everywhere, so that no two tasks wait for each other
            stack.enter_context(concurrency(name, occupy=slots, lease_duration=LEASE))
        PROCESS_GATES.keep_to((host, taken[_name(limits, host)]) for host in limited)
        yield


def _name(limits: Mapping[str, int], host: str) -> str:
    """That of the host with its port, else without it."""
    name = limit_name(host)
    bare = limit_name(host.partition(":")[0]) if "://" not in host else name
    return name if name in limits else bare
