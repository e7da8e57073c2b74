"""Effort: what a spec says about trying, resolved; and what this version cannot do is said, not skipped."""

from __future__ import annotations

from typing import Any

import pytest

from rasterloom.errors import SpecError
from rasterloom.specs.effort import AuthRef, Effort
from rasterloom.specs.loader import spec_from
from rasterloom.specs.resolve import effort

BASE: dict[str, Any] = {"name": "a", "dataset": "earthsearch/sentinel-2-l2a"}


def test_defaults() -> None:
    auth = AuthRef(provider="anonymous", options=(("region", "us-west-2"),))
    assert effort(spec_from(BASE)) == Effort(auth=auth, max_page_size=500, ignores_filter=True)


def test_everything_given() -> None:
    stac = {"url": "https://stac.example.com", "collection": "c", "page_size": 7, "method": "GET", "headers": {"B": "${B}", "A": "x"}}
    build = {"max_concurrent": 5, "retries": 0, "timeout": "PT1M", "on_error": "fail", "max_error_rate": 0.5, "force": True}
    spec = spec_from(
        {"name": "a", "stac": stac, "bands": ["x"], "build": build,
         "storage": {"partition_by": [], "compression": "none", "keep_snapshots": 3},
         "checks": [{"rows": {"min": 3}}, {"rows": {"min": 2}}, {"failed": {"max": 0.5}}, {"failed": {"max": 0.25}},
                    {"coverage": {"min": 0.9}}, {"coverage": {"min": 0.8}}, {"duplicates": {"max": 0}}, {"drift": {"max": 0.1}}],
         "bbox": [0, 0, 1, 1], "refresh": {"deleted": "drop"},
         "auth": {"provider": "azure", "account_name": "acc", "sas_key": "${secret.sas}", "hosts": ["a", "b"]}}
    )  # fmt: skip
    assert effort(spec) == Effort(
        max_concurrent=5,
        retries=0,
        timeout=60.0,
        on_error="fail",
        max_error_rate=0.5,
        force=True,
        page_size=7,
        method="GET",
        headers=(("A", "x"), ("B", "${B}")),
        auth=AuthRef(provider="azure", options=(("account_name", "acc"), ("hosts", "a,b"), ("sas_key", "${secret.sas}"))),
        partition_by=(),
        compression="none",
        min_rows=3,
        max_failed=0.25,
        min_coverage=0.9,
        max_duplicates=0.0,
        max_drift=0.1,
        deleted="drop",
        keep_snapshots=3,
    )


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ({"provider": "aws", "profile": "me"}, {"profile": "me", "region": "us-west-2", "requester_pays": "true"}),
        ({"provider": "aws", "region": "eu-west-1", "requester_pays": False}, {"region": "eu-west-1", "requester_pays": "false"}),
        ({"provider": "anonymous"}, {"region": "us-west-2"}),
        (
            {"provider": "custom", "custom": {"object": "m:f", "params": {"b": 1, "a": 2}}},
            {"object": "m:f", "params": '{"a":2,"b":1}', "region": "us-west-2"},
        ),
    ],
)  # fmt: skip
def test_the_spec_goes_before_what_the_catalog_knows(auth: dict[str, Any], expected: dict[str, str]) -> None:
    found = effort(spec_from({"name": "a", "dataset": "earthsearch/naip", "auth": auth})).auth
    assert (found.provider, dict(found.options)) == (auth["provider"], expected)


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("https://stac.example.com/v1", False),
        ("https://8.8.8.8/v1", False),
        ("http://stac.example.com/v1", False),
        ("https://localhost:8080", True),
        ("http://127.0.0.1:7930", True),
        ("https://10.0.0.7/stac", True),
        ("https://[::1]/stac", True),
        ("https://169.254.169.254/latest", True),
    ],
)
def test_private_hosts_are_open_only_where_the_api_is_one(url: str, private: bool) -> None:
    spec = spec_from({"name": "a", "stac": {"url": url, "collection": "c"}, "bands": ["x"]})
    assert effort(spec).allow_private_hosts == private


def test_private_hosts_can_be_opened() -> None:
    assert effort(spec_from(BASE | {"build": {"allow_private_hosts": True}})).allow_private_hosts


def test_limits_are_by_host_or_bucket() -> None:
    limits = {"Data.Example.org": 4, "s3://usgs-landsat": 8, "h.example:8443": 1, "az://account/container": 2}
    assert effort(spec_from(BASE | {"run": {"limits": limits}})).limits == (
        ("az://account/container", 2),
        ("data.example.org", 4),
        ("h.example:8443", 1),
        ("s3://usgs-landsat", 8),
    )
    for wrong in ({"https://h.example": 4}, {"h.example/path": 4}, {"": 4}, {"h.example": 0}, {"h.example": True}):
        with pytest.raises(SpecError, match="limits"):
            spec_from(BASE | {"run": {"limits": wrong}})


def test_the_runner_and_its_address_are_effort() -> None:
    assert effort(spec_from(BASE)).runner == "threads"
    on_dask = effort(spec_from(BASE | {"run": {"runner": "dask", "address": "tcp://scheduler:8786"}}))
    assert (on_dask.runner, on_dask.runner_address) == ("dask", "tcp://scheduler:8786")
    with pytest.raises(SpecError, match="address is that of a cluster"):
        spec_from(BASE | {"run": {"address": "tcp://scheduler:8786"}})
