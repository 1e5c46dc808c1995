"""Traffic of several kinds at once."""

from itertools import islice

import pytest
from pydantic import ValidationError

from simulator.content import segment_tokens
from simulator.traffic import TrafficRequest
from simulator.workloads import load_workload
from simulator.workloads.mixture import Mixture


def _requests(seed: int, rate: float = 20.0, until_s: float = 300.0) -> list[TrafficRequest]:
    chains = load_workload("tiers-chat").chains(seed=seed, rate=rate, until_s=until_s)
    return [request for chain in chains for request in islice(chain, 10_000)]


def test_parts_come_in_their_shares_and_with_their_tiers() -> None:
    requests = _requests(1)

    tiers = [request.tier for request in requests]

    assert len(requests) == pytest.approx(20.0 * 300.0, rel=0.05)
    for tier, share in (("interactive", 0.6), ("standard", 0.3), ("batch", 0.1)):
        assert tiers.count(tier) / len(tiers) == pytest.approx(share, rel=0.1)


def test_parts_have_no_content_session_or_tenant_in_common() -> None:
    owners: dict[object, set[str | None]] = {}

    for request in _requests(1):
        for key in (request.session_id, request.tenant, *(name for name, _ in request.segments)):
            owners.setdefault(key, set()).add(request.tier)

    assert all(len(tiers) == 1 for tiers in owners.values())


def test_instructions_are_shared_within_a_part() -> None:
    firsts = [request.segments[0][0] for request in _requests(1) if request.tier == "standard"]

    assert len(set(firsts)) <= 40
    assert len(firsts) > 400


def test_a_seed_fixes_every_request_and_sizes_add_up() -> None:
    requests = _requests(1, until_s=30.0)

    assert requests == _requests(1, until_s=30.0)
    assert requests != _requests(2, until_s=30.0)
    for request in requests:
        assert request.prompt_tokens == segment_tokens(request.segments) >= 1
        assert request.output_tokens >= 1


def test_two_parts_of_one_name_are_refused() -> None:
    part = {
        "name": "a",
        "weight": 1.0,
        "traffic": load_workload("sharegpt").spec.traffic.model_dump(),
    }

    with pytest.raises(ValidationError, match="same name"):
        Mixture.model_validate({"kind": "mixture", "parts": [part, part]})
