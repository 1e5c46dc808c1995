"""What tells the policies that look at load from each other."""

import numpy as np
import pytest

from scheduler.candidates import total
from tests.scheduler.known_physics import KnownPhysics
from tests.scheduler.policy_cases import candidates, cheapest, load, terms


def test_round_robin_takes_turns() -> None:
    given = candidates([load(last_dispatch=7), load(last_dispatch=5), load(last_dispatch=6)])

    assert cheapest("round_robin", given) == 1


def test_power_of_two_looks_at_two_only() -> None:
    given = candidates([load(0), load(5), load(3)], draw=[0.9, 0.1, 0.2])

    assert cheapest("power_of_two", given) == 2


def test_lmetric_multiplies_tokens_by_batch() -> None:
    short_queue = load(9, queued_prefill_tokens=0.0)
    small_batch = load(1, queued_prefill_tokens=3000.0)

    assert cheapest("lmetric", candidates([short_queue, small_batch])) == 1
    assert cheapest("queued_tokens", candidates([short_queue, small_batch])) == 0


@pytest.mark.parametrize("name", ["lmetric", "queued_tokens"])
def test_known_speeds_turn_tokens_into_seconds(name: str) -> None:
    slow_but_idle = load(0, queued_prefill_tokens=0.0)
    fast_but_busy = load(1, queued_prefill_tokens=1500.0)
    speeds = KnownPhysics(seconds_per_token={"e0:1": 1e-3, "e1:1": 1e-4})
    known = candidates([slow_but_idle, fast_but_busy], predictor=speeds)
    unknown = candidates([slow_but_idle, fast_but_busy], predictor=None)

    assert cheapest(name, known) == 0
    assert cheapest(f"{name}_speed", known) == 1
    np.testing.assert_allclose(total(terms(f"{name}_speed", unknown)), total(terms(name, unknown)))
