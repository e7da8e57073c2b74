"""Where runs that share a build begin, and how they go on."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from prefect.exceptions import ParameterTypeError

from rasterloom.flows.build import new_run_id
from rasterloom.flows.gather import ALONE, Share
from rasterloom.flows.helper import gather_share


def order(share: Share, shards: int) -> list[int]:
    return sorted(range(shards), key=lambda shard: share.distance(shard + 0.5, shards))


def test_alone_it_is_the_plans_order_and_two_come_from_both_ends() -> None:
    assert order(ALONE, 7) == [0, 1, 2, 3, 4, 5, 6]
    assert order(Share(number=0, of=2), 7) == [0, 1, 2, 3, 4, 5, 6]
    assert order(Share(number=1, of=2), 7) == [6, 5, 4, 3, 2, 1, 0]


def test_four_begin_at_the_ends_of_two_halves() -> None:
    assert [order(Share(number=number, of=4), 8)[0] for number in range(4)] == [0, 3, 4, 7]
    assert order(Share(number=1, of=4), 8) == [3, 2, 1, 0, 7, 6, 5, 4]


@pytest.mark.parametrize("of", range(1, 9))
def test_each_does_the_whole_plan_so_that_none_of_the_others_is_needed(of: int) -> None:
    for shards in (1, 2, 5, 52):
        for number in range(of):
            assert sorted(order(Share(number=number, of=of), shards)) == list(range(shards))


def test_a_helper_takes_no_run_id_that_is_a_path() -> None:
    given = {"build_run": uuid4(), "now": datetime.now(UTC), "fingerprint": "0" * 64, "share": 1, "of": 2}
    assert gather_share.validate_parameters({**given, "run_id": new_run_id(datetime.now(UTC))})
    with pytest.raises(ParameterTypeError, match="run_id"):
        gather_share.validate_parameters({**given, "run_id": "../../elsewhere"})
