"""What `rasterloom setup` makes on a server, and the limits of hosts that tasks keep over processes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from rasterloom.access.network.hosts import PROCESS_GATES, host_of
from rasterloom.errors import Unavailable
from rasterloom.flows.setup import ZOMBIES, set_up
from rasterloom.tasks.limits import global_limits, host_slots, limit_name

pytestmark = pytest.mark.usefixtures("prefect_server")

HOST = "limited.example.org:8443"


def changes(**limits: int) -> list[str]:
    return [each.change for each in set_up(work_pool="setup", limits=limits)]


def test_a_second_set_up_changes_nothing() -> None:
    assert changes(**{"a.example.org": 5}) == ["created", "created", "created"]
    assert changes(**{"a.example.org": 5}) == ["unchanged", "unchanged", "unchanged"]
    assert changes(**{"a.example.org": 6}) == ["unchanged", "changed", "unchanged"]
    assert global_limits()["host:a.example.org"] == 6
    with get_client(sync_client=True) as client:
        (automation,) = client.read_automations_by_name(ZOMBIES)
    assert automation.enabled


def test_slots_are_taken_for_all_requests_of_a_task_and_given_back() -> None:
    set_up(work_pool="setup", limits={HOST: 3})
    with host_slots({HOST, "free.example.org"}, most=10, own={}):
        assert held() == 3
        assert PROCESS_GATES._limits[HOST] == 3
    assert held() == 0
    with host_slots({HOST}, most=10, own={HOST: 2}):
        assert held() == 2


def test_two_ports_of_a_host_share_its_slots() -> None:
    """A task that took them for each would wait for itself."""
    bare = "shared.example.org"
    set_up(work_pool="setup", limits={bare: 3})
    with host_slots({f"{bare}:8443", f"{bare}:9443"}, most=10, own={}):
        assert held(bare) == 3
    with host_slots({f"{bare}:8443", f"{bare}:9443"}, most=10, own={f"{bare}:9443": 2}):
        assert held(bare) == 2
    assert held(bare) == 0


def test_tasks_that_need_the_whole_host_take_turns() -> None:
    set_up(work_pool="setup", limits={HOST: 3})
    inside, lock, most = [0], threading.Lock(), [0]

    def task(_: int) -> None:
        with host_slots({HOST}, most=10, own={}):
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            assert held() == 3
            with lock:
                inside[0] -= 1

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(task, range(3)))
    assert most == [1]


def test_without_a_server_there_are_no_such_limits() -> None:
    with temporary_settings(restore_defaults={PREFECT_API_URL}), host_slots({HOST}, most=10, own={}):
        assert global_limits() == {}


def test_a_server_that_does_not_tell_its_limits_is_asked_again_later() -> None:
    """What was limited is not asked without its limit."""
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), pytest.raises(Unavailable, match="limits of hosts"):
        global_limits()


@pytest.mark.parametrize(
    ("href", "host", "name"),
    [
        ("https://A.example.org:8443/x.tif?q", "a.example.org:8443", "host:a.example.org:8443"),
        ("http://user:pass@a.example.org/x", "a.example.org", "host:a.example.org"),
        ("s3://Bucket/key.tif", "s3://bucket", "host:s3:bucket"),
        ("/data/x.tif", "", "host:"),
    ],
)
def test_limits_are_named_after_hosts_and_buckets(href: str, host: str, name: str) -> None:
    assert host_of(href) == host
    assert limit_name(host) == name


def held(host: str = HOST) -> int:
    with get_client(sync_client=True) as client:
        return client.read_global_concurrency_limit_by_name(limit_name(host)).active_slots
