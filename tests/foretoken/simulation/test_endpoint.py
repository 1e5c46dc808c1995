"""What a simulated endpoint tells the router about itself."""

from dataclasses import replace

from foretoken.simulation.endpoint import build_endpoints
from simulator.fleets import SharedTier, load_fleet


def test_a_scrape_tells_limits_tiers_and_rates() -> None:
    fleet = load_fleet("eight-8b-h100")
    spec = fleet.endpoints[0]
    engine = spec.engine.model_copy(update={"cpu_tier_tokens": 5000, "max_num_seqs": 7})
    fleet = replace(
        fleet,
        endpoints=(replace(spec, engine=engine),),
        shared_tier=SharedTier(tokens=9000, load_s_per_token=1e-5),
    )
    (endpoint,) = build_endpoints(fleet, 0, labels=False, wake=lambda _, __: None).values()

    first, second = endpoint.state(0.0), endpoint.state(1.0)
    endpoint.up = False
    down = endpoint.state(2.0)

    for state in (first, second, down):
        assert state.max_batched_tokens == spec.profile.max_num_batched_tokens
        assert (state.max_seqs, state.cpu_kv_tokens, state.shared_kv_tokens) == (7, 5000, 9000)
        assert state.hardware is None
    assert (first.preemptions_per_s, second.preemptions_per_s) == (None, 0.0)
    assert (down.up, down.running_requests, down.scraped_s) == (False, None, None)
