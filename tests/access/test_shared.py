"""Stores that outlive a batch: the same ones while nothing that matters has changed, and never for long."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rasterloom.access.archive import shared
from rasterloom.access.archive.shared import LIFETIME, MOST, SharedStores
from rasterloom.access.archive.stores import Stores
from rasterloom.access.credentials.secrets import Secrets, environment_secrets
from rasterloom.errors import AccessDenied, SpecError
from rasterloom.specs.effort import AuthRef, Effort

SOURCE = "http://127.0.0.1:9/stac"
KEYS = AuthRef(provider="aws", options=(("secret_access_key", "${RASTERLOOM_TEST_KEY}"),))


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def stores(
    kept: SharedStores,
    auth: AuthRef | None = None,
    *,
    effort: Effort | None = None,
    secrets: Secrets = environment_secrets,
    source: str = SOURCE,
) -> Stores:
    return kept.of(auth or AuthRef(), effort=effort or Effort(), secrets=secrets, source=source)


def test_batches_of_a_source_share_their_stores_whatever_their_effort_elsewhere() -> None:
    kept = SharedStores()
    assert stores(kept) is stores(kept, effort=Effort(max_concurrent=7, retries=0, force=True))


@pytest.mark.parametrize("change", [{"timeout": 5.0}, {"allow_private_hosts": True}])
def test_what_a_client_is_made_of_makes_another_one(change: dict[str, object]) -> None:
    kept = SharedStores()
    assert stores(kept) is not stores(kept, effort=replace(Effort(), **change))


def test_another_source_or_provider_has_stores_of_its_own() -> None:
    kept = SharedStores()
    assert len({id(stores(kept)), id(stores(kept, source="http://127.0.0.1:8/")), id(stores(kept, AuthRef(provider="gcs")))}) == 3


def test_a_rotated_key_is_met_at_once_and_no_key_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = SharedStores()
    monkeypatch.setenv("RASTERLOOM_TEST_KEY", "first-secret")
    before = stores(kept, KEYS)
    assert stores(kept, KEYS) is before
    assert "first-secret" not in repr(kept._kept)  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setenv("RASTERLOOM_TEST_KEY", "second-secret")
    assert stores(kept, KEYS) is not before


def test_keys_that_the_environment_gives_the_clients_are_met_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = SharedStores()
    before = stores(kept)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "another")
    assert stores(kept) is not before


def test_without_its_secret_a_source_is_not_remembered_and_says_so_when_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = SharedStores()
    monkeypatch.delenv("RASTERLOOM_TEST_KEY", raising=False)
    found = stores(kept, KEYS)
    assert stores(kept, KEYS) is not found
    with pytest.raises(AccessDenied):
        found.locate("s3://bucket/a.tif")


def test_stores_are_let_go_after_a_while_and_the_oldest_first() -> None:
    time = Time()
    kept = SharedStores(clock=time)
    first = stores(kept)
    time.now = LIFETIME
    assert stores(kept) is first
    time.now = LIFETIME + 1
    assert stores(kept) is not first
    second = stores(kept)
    for number in range(MOST):
        stores(kept, source=f"http://127.0.0.1:9/{number}")
    assert len(kept._kept) == MOST  # pyright: ignore[reportPrivateUsage]
    assert stores(kept) is not second


def test_an_unknown_provider_is_refused_each_time() -> None:
    kept = SharedStores()
    for _ in range(2):
        with pytest.raises(SpecError):
            stores(kept, AuthRef(provider="gopher"))


def test_a_forked_child_begins_without_them() -> None:
    kept = SharedStores()
    first = stores(kept)
    kept.clear()
    assert stores(kept) is not first
    assert shared.shared_stores(AuthRef(), effort=Effort(), secrets=environment_secrets, source=SOURCE)
