import pytest
from pydantic import ValidationError

from simulator.settings import EndpointSettings


def test_an_unknown_profile_names_the_setting_and_the_known_ones() -> None:
    with pytest.raises(ValidationError) as caught:
        EndpointSettings(profile="h100/llama")

    assert caught.value.errors()[0]["loc"] == ("profile",)
    assert "h100_sxm/llama-3.1-8b" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("block_size", 0),
        ("speed", 0.0),
        ("port", 70_000),
        ("kv_token", 5),
        ("speed", float("inf")),
        ("stall_factor", float("inf")),
        ("request_overhead_s", float("nan")),
        ("max_model_len", 1 << 24),
    ],
)
def test_a_value_out_of_bounds_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValidationError) as caught:
        EndpointSettings.model_validate({name: value})

    assert caught.value.errors()[0]["loc"] == (name,)
