"""A run on the temporary server that Prefect starts: quiet, and nothing left behind."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prefect import flow
from prefect.blocks.system import Secret
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_API_URL, Settings, get_current_settings, temporary_settings

from rasterloom.access.network.ports import PORTS
from rasterloom.errors import AccessDenied, Unavailable
from rasterloom.specs.references import Reference
from rasterloom.tasks.logs import hide_secrets_in_logs
from rasterloom.tasks.secrets import secret
from rasterloom.tasks.settings import connected, local_settings, make_home, reach_server
from tests.servers import free_port
from tests.waiting import until

SCRIPT = """
import sys, time
from prefect import flow, task
from prefect.server.api.server import SubprocessASGIServer
from rasterloom.tasks.settings import local_settings, reach_server

@task
def fails():
    raise ValueError("expected")

@flow(persist_result=False)
def one():
    server = SubprocessASGIServer()
    print(server.server_process.pid, server.port, flush=True)
    if "hang" in sys.argv:
        time.sleep(600)
    fails.submit().result()

with local_settings():
    reach_server()
    try:
        one()
    except ValueError as error:
        print("raised", error)
"""


@pytest.fixture
def start(tmp_path: Path):
    homes = itertools.count()

    def started(*arguments: str) -> subprocess.Popen[str]:
        env = os.environ | {"PREFECT_HOME": str(tmp_path / str(next(homes)))}
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *arguments], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    return started


def is_gone(pid: int) -> bool:
    """Also where nobody has taken its end from the system yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.slow
def test_local_runs_print_nothing_of_prefect_and_stop_their_own_servers(start) -> None:
    processes, ports = [start(), start()], list[int]()
    for process in processes:
        out, error = process.communicate(timeout=300)
        server, said = out.splitlines()
        assert said == "raised expected"
        assert error == ""
        pid, port = map(int, server.split())
        until(lambda pid=pid: is_gone(pid))
        ports.append(port)
    assert set(ports) < set(PORTS)
    assert len(set(ports)) == 2


@pytest.mark.slow
def test_sigterm_ends_the_flow_and_its_server(start) -> None:
    process = start("hang")
    pid, _ = map(int, process.stdout.readline().split())
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=300)
    assert process.returncode != 0
    until(lambda: is_gone(pid))


def test_what_the_user_has_set_stands() -> None:
    with temporary_settings({"server.ephemeral.startup_timeout_seconds": 7}), local_settings():
        settings = get_current_settings()
        assert settings.server.ephemeral.startup_timeout_seconds == 7
        assert settings.server.services.task_run_recorder.enabled is False
        assert settings.flows.heartbeat_frequency is None


def settled() -> Settings:
    """The settings of a local run begun now."""
    with local_settings():
        return get_current_settings()


def test_the_settings_of_local_runs_are_validated_once_for_as_long_as_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    first = settled()
    assert settled() is first
    with local_settings():
        assert settled() is first
    monkeypatch.setenv("PREFECT_LOGGING_TO_API_BATCH_SIZE", "5000001")
    assert settled().logging.to_api.batch_size == 5_000_001
    monkeypatch.undo()
    with temporary_settings({"logging.to_api.batch_size": 5_000_002}):
        assert settled().logging.to_api.batch_size == 5_000_002
    assert settled().logging.to_api.batch_size == first.logging.to_api.batch_size


def test_runs_hand_on_one_client_and_none_that_failed_or_was_made_with_other_settings(prefect_server: None) -> None:
    with connected() as first:
        pass
    with connected() as second:
        assert second.client is first.client
        with connected() as inner, ThreadPoolExecutor(1) as pool:
            assert inner.client is first.client
            assert pool.submit(client_of_this_thread).result() is not first.client
    with pytest.raises(OSError, match="lost"), connected() as failed:
        raise OSError("lost")
    with temporary_settings({"api.request_timeout": 61.0}), connected() as other:
        assert other.client is not failed.client
        assert other.client.api_healthcheck() is None
    with connected() as last:
        assert last.client is not other.client
        assert last.client.api_healthcheck() is None


def client_of_this_thread() -> SyncPrefectClient:
    with connected() as found:
        return found.client


def test_a_server_that_does_not_answer_is_unavailable_and_named() -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    with temporary_settings({"api.url": url}), pytest.raises(Unavailable, match=url) as caught:
        reach_server()
    assert caught.value.remedy


def test_a_home_of_prefect_is_made_with_what_is_above_it_and_one_that_cannot_be_is_told_at_once(tmp_path: Path) -> None:
    make_home(tmp_path / "deep" / "down")
    assert list((tmp_path / "deep" / "down").iterdir()) == [], "and nothing is left in it"
    (tmp_path / "file").write_text("")
    wrong = temporary_settings({"home": tmp_path / "file" / "home"}, restore_defaults={PREFECT_API_URL})
    with wrong, pytest.raises(AccessDenied, match="cannot write to its home") as caught:
        reach_server()
    assert "PREFECT_HOME" in caught.value.remedy


def test_secrets_of_blocks_and_of_the_environment(prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> None:
    Secret(value="0123").save("digits", overwrite=True)
    Secret(value={"a": 1}).save("mapping", overwrite=True)
    monkeypatch.setenv("A_TOKEN", "from the environment")
    assert secret(Reference(kind="block", name="digits")) == "0123"
    assert secret(Reference(kind="environment", name="A_TOKEN")) == "from the environment"
    for name in ("missing", "mapping"):
        with pytest.raises(AccessDenied, match=name):
            secret(Reference(kind="block", name=name))


def test_secrets_are_kept_out_of_the_logs_of_a_run(prefect_server: None, caplog: pytest.LogCaptureFixture) -> None:
    @flow(persist_result=False)
    def leaks() -> None:
        hide_secrets_in_logs()
        get_run_logger().warning("asked %s", "https://a.example/x?sig=abcdefgh")
        raise ValueError("https://a.example/x?sig=abcdefgh") from OSError("token=abcdefgh")

    with caplog.at_level(logging.INFO), pytest.raises(ValueError, match="sig="):
        leaks()
    said = [record.getMessage() + str(record.exc_text) for record in caplog.records if record.name == "prefect.flow_runs"]
    assert any("asked https://a.example/x" in text for text in said)
    assert any("Traceback" in text for text in said)
    ours = [text for text in said if "Finished in state" not in text]
    assert not [text for text in ours if "abcdefgh" in text]
    with get_client(sync_client=True) as client:
        assert client.api_healthcheck() is None
