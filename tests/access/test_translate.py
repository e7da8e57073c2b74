"""The table of foreign errors is complete, and what it gives holds no secret."""

from __future__ import annotations

import errno
import json

import obstore
import obstore.exceptions
import pytest
import requests
from obstore.store import HTTPStore, LocalStore, MemoryStore

from rasterloom.access.network.translate import FOREIGN, TABLE, Kind, error_of, failure_of, fault_of, http_status, summary, translated
from rasterloom.errors import AccessDenied, RasterloomError, SpecError, Unavailable, Unreadable
from tests.servers import Cut, RangeServer, Status, free_port

OBSTORE = [value for value in vars(obstore.exceptions).values() if isinstance(value, type) and issubclass(value, BaseException)]
REQUESTS = [
    value
    for value in vars(requests.exceptions).values()
    if isinstance(value, type) and issubclass(value, requests.RequestException)
]  # fmt: skip
STRICT = {"max_retries": 0}


@pytest.mark.parametrize("foreign", OBSTORE, ids=lambda c: c.__name__)
def test_every_class_of_obstore_has_its_own_row(foreign: type[BaseException]) -> None:
    assert foreign in [row for row, _ in TABLE]


def test_the_classes_of_obstore_were_found() -> None:
    assert len(OBSTORE) >= 12


@pytest.mark.parametrize("foreign", REQUESTS, ids=lambda c: c.__name__)
def test_every_class_of_requests_is_covered(foreign: type[BaseException]) -> None:
    assert issubclass(foreign, FOREIGN)


def test_no_row_hides_behind_an_earlier_one() -> None:
    for at, (later, _) in enumerate(TABLE):
        assert not any(issubclass(later, earlier) and later is not earlier for earlier, _ in TABLE[:at]), later
        assert later not in [earlier for earlier, _ in TABLE[:at]]


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (400, Kind.UNREADABLE, "bad-request"),
        (401, Kind.DENIED, "unauthenticated"),
        (403, Kind.DENIED, "denied"),
        (404, Kind.UNREADABLE, "missing"),
        (408, Kind.UNAVAILABLE, "timeout"),
        (410, Kind.UNREADABLE, "missing"),
        (412, Kind.UNREADABLE, "changed"),
        (416, Kind.UNREADABLE, "server-ranges"),
        (418, Kind.UNREADABLE, "http-418"),
        (429, Kind.UNAVAILABLE, "throttled"),
        (500, Kind.UNAVAILABLE, "server"),
        (503, Kind.UNAVAILABLE, "server"),
        (520, Kind.UNAVAILABLE, "server"),
    ],
)
def test_real_answers_of_a_server(status: int, kind: Kind, reason: str) -> None:
    with RangeServer({"/a.tif": b"x" * 100}) as server:
        server.faults["*"] = Status(status, body=b"token=S3cr3tXYZ")
        store = HTTPStore.from_url(server.url, client_options={"allow_http": True}, retry_config=STRICT)
        with pytest.raises(FOREIGN) as caught:
            obstore.get(store, "a.tif", options={"range": (0, 10)})
    fault = fault_of(caught.value)
    assert (fault.kind, fault.reason, http_status(caught.value)) == (kind, reason, status)
    failure = failure_of(caught.value, stage="header", href="https://h/x?sig=S3cr3tXYZ")
    assert (failure.http_status, failure.reason, failure.retryable) == (status, reason, kind is Kind.UNAVAILABLE)
    assert "S3cr3tXYZ" not in repr(failure)
    assert len(failure.message) <= 500


def test_broken_connections_and_time_outs() -> None:
    with RangeServer({"/a.tif": b"x" * 100}) as server:
        server.faults["/a.tif"] = Cut(10)
        store = HTTPStore.from_url(server.url, client_options={"allow_http": True}, retry_config=STRICT)
        with pytest.raises(FOREIGN) as cut:
            obstore.get(store, "a.tif", options={"range": (0, 100)}).bytes()
    nobody = HTTPStore.from_url(f"http://127.0.0.1:{free_port()}", client_options={"allow_http": True}, retry_config=STRICT)
    with pytest.raises(FOREIGN) as refused:
        obstore.get(nobody, "a.tif")
    assert {fault_of(cut.value).reason, fault_of(refused.value).reason} == {"network"}


def test_local_and_memory_stores() -> None:
    with pytest.raises(Unreadable) as missing, translated("read it"):
        obstore.get(LocalStore(), "no/such/file")
    assert missing.value.reason == "missing"
    store = MemoryStore()
    obstore.put(store, "a", b"1")
    with pytest.raises(Unavailable) as conflict, translated("write it"):
        obstore.put(store, "a", b"2", mode="create")
    assert "write it" in str(conflict.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left"), Unavailable),
        (OSError(errno.EROFS, "Read-only"), AccessDenied),
        (OSError(errno.EIO, "I/O error"), Unavailable),
        (PermissionError(errno.EACCES, "no"), AccessDenied),
        (FileNotFoundError("x"), Unreadable),
        (TimeoutError(), Unavailable),
        (requests.ConnectTimeout(), Unavailable),
        (requests.exceptions.InvalidURL("http://"), SpecError),
        (json.JSONDecodeError("x", "y", 0), Unreadable),
    ],
)
def test_each_kind_becomes_its_error(error: Exception, expected: type[RasterloomError]) -> None:
    assert type(error_of("do it", error)) is expected
    with pytest.raises(expected), translated("do it"):
        raise error


def test_ours_pass_and_bugs_pass() -> None:
    ours = Unreadable("x", reason="y")
    assert error_of("do it", ours) is ours
    with pytest.raises(ZeroDivisionError), translated("do it"):
        _ = 1 / 0


def test_of_a_server_that_does_not_answer_the_cause_is_told_and_no_object() -> None:
    with pytest.raises(requests.ConnectionError) as caught:
        requests.get(f"http://127.0.0.1:{free_port()}/stac", timeout=5)
    assert summary(caught.value).startswith("Failed to establish a new connection: ")
    assert summary(requests.ReadTimeout("Plain(host='a.b', port=443): Read timed out. (read timeout=5)")).startswith("Read timed out.")
