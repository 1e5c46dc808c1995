from itertools import pairwise

import pytest

from simulator.errors import UnknownProfile
from simulator.profiles import profile, profiles


def test_every_configuration_is_there_under_its_name() -> None:
    known = profiles()

    assert len(known) == 23
    assert {name.partition("/")[0] for name in known} == {
        "a100_sxm",
        "b200_sxm",
        "h100_sxm",
        "h200_sxm",
        "l40s",
        "rtx_pro_6000",
    }
    assert known["h200_sxm/llama-3.1-70b-tp2-fp8"].tp == 2
    assert known["h100_sxm/llama-3.1-70b-fp8"].tp == 4
    assert known["h100_sxm/qwen3-32b-tp1-fp8"].kv_tokens == 161_743


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownProfile) as caught:
        profile("h100/llama")

    assert caught.value.name == "h100/llama"
    assert "l40s/llama-3.1-8b" in str(caught.value)


def test_step_time_at_a_knot_is_the_fitted_value() -> None:
    h100 = profile("h100_sxm/llama-3.1-8b")
    expected_s = h100.base_s[6] + 128 * h100.decoding_s + 0.1 * h100.context_s

    step_s = h100.step_s([], 128, 100)

    assert h100.knots[6] == 128
    assert step_s == pytest.approx(expected_s)


@pytest.mark.parametrize("name", sorted(profiles()))
def test_longer_prefills_take_longer(name: str) -> None:
    chosen = profile(name)

    times = [chosen.step_s([(new, 0)], 0, 0) for new in (256, 1024, 2048, 8192, 16_384)]

    assert times[0] > 0
    assert all(low < high for low, high in pairwise(times))


def test_a_cached_prefix_costs_less_than_computing_it() -> None:
    h100 = profile("h100_sxm/llama-3.1-8b")

    hit_s = h100.step_s([(500, 3500)], 0, 0)

    assert h100.step_s([(500, 0)], 0, 0) < hit_s < h100.step_s([(4000, 0)], 0, 0)


def test_an_l40s_is_slower_than_an_a100_than_an_h100() -> None:
    times = [
        profile(f"{gpu}/llama-3.1-8b").step_s([(1000, 0)], 16, 16_000)
        for gpu in ("h100_sxm", "a100_sxm", "l40s")
    ]

    assert times == sorted(times)
