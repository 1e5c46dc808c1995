"""The physics prior's levels: label, fleet, endpoint, and memory that stays bounded."""

import numpy as np
import pytest

from predictor.features import COLUMN, N_FEATURES
from predictor.hardware import PROFILES
from predictor.physics import TARGETS, PhysicsPrior
from predictor.settings import PhysicsSettings
from predictor.types import FloatArray, Observation
from tests.predictor.fleet import BOTH, fleet_observations

LABELS = ("l40s/llama-3.1-8b", "h100_sxm/llama-3.1-8b")


def teach(prior: PhysicsPrior, observations: list[Observation], label: str | None = None) -> None:
    for row in observations:
        assert row.upstream_ttft_s is not None
        assert row.tpot_s is not None
        prior.learn(
            row.features,
            row.endpoint,
            label,
            observed_s=row.observed_s,
            targets_s={0: row.upstream_ttft_s, 1: row.tpot_s},
        )


def one_row(prompt: float) -> FloatArray:
    row = np.zeros((1, N_FEATURES))
    row[0, [COLUMN["prompt_tokens"], COLUMN["uncached_tokens"]]] = prompt
    return row


def test_every_profile_gives_positive_starting_predictions() -> None:
    labels = [*PROFILES, None, "unknown/model"]
    rows = np.repeat(one_row(1000), len(labels), axis=0)

    said = PhysicsPrior().predict(rows, ["a:1"] * len(labels), labels)

    assert (np.exp(said.log_prior[TARGETS.index("ttft")]) < 2.0).all()
    assert (np.exp(said.log_prior[TARGETS.index("tpot")]) < 0.1).all()
    assert (said.prefill_token_s > 0).all()
    assert (said.decode_step_s > 0).all()


def test_what_one_endpoint_teaches_a_stranger_of_its_class_starts_from() -> None:
    prior = PhysicsPrior()
    before = prior.predict(one_row(4000), ["stranger:1"], [LABELS[1]])
    teach(prior, fleet_observations(100, slow=1.0), LABELS[1])

    after = prior.predict(one_row(4000), ["stranger:1"], [LABELS[1]])
    known = prior.predict(one_row(4000), ["fast:1"], [LABELS[1]])

    assert after.log_prior[0, 0] == pytest.approx(known.log_prior[0, 0], abs=0.1)
    assert abs(after.log_prior[0, 0] - before.log_prior[0, 0]) > 0.3


def test_queues_longer_than_any_seen_are_extrapolated() -> None:
    prior = PhysicsPrior()
    teach(prior, fleet_observations(300, slow=1.0))
    row = one_row(1000)
    row[0, COLUMN["queued_prefill_tokens"]] = 200_000

    said = np.exp(prior.predict(row, ["fast:1"], [None]).log_smooth[0, 0])

    assert said == pytest.approx(0.02 + 4e-5 * 201_000, rel=0.15)


def test_speeds_do_not_wander_while_nothing_changes() -> None:
    prior = PhysicsPrior()
    observations = fleet_observations(400, noise=0.4)
    for _ in range(5):
        teach(prior, observations)

    scales = [fit.log_scale for fit in prior.fit().ttft.endpoints.values()]

    assert sum(scales) == pytest.approx(0.0, abs=0.1)
    assert max(scales) - min(scales) == pytest.approx(np.log(2), abs=0.2)


def test_endpoints_beyond_the_bound_are_forgotten_oldest_first() -> None:
    prior = PhysicsPrior(PhysicsSettings(max_endpoints=2))
    for name in ("a:1", "b:1", "a:1", "c:1"):
        prior.learn(one_row(100)[0], name, None, observed_s=0.0, targets_s={0: 0.1})

    assert set(prior.fit().ttft.endpoints) == {"a:1", "c:1"}


def test_a_label_of_one_target_leaves_the_other_untouched() -> None:
    prior = PhysicsPrior()
    before = prior.predict(one_row(500), ["a:1"], [None]).log_prior[1, 0]
    for _ in range(100):
        prior.learn(one_row(500)[0], "a:1", None, observed_s=0.0, targets_s={0: 3.0})

    after = prior.predict(one_row(500), ["a:1"], [None])

    assert after.log_prior[1, 0] == before
    assert np.exp(after.log_prior[0, 0]) == pytest.approx(3.0, rel=0.1)


def test_what_is_learned_shows_in_the_next_prediction_of_the_same_endpoints() -> None:
    prior = PhysicsPrior()
    row = fleet_observations(1)[0].features[None]
    asked = (BOTH[:1], (None,))
    before = prior.predict(row, *asked)

    teach(prior, fleet_observations(200, slow=3.0))

    after = prior.predict(row, *asked)
    fresh = PhysicsPrior(fit=prior.fit()).predict(row, *asked)
    assert after.log_prior[0, 0] != before.log_prior[0, 0]
    np.testing.assert_allclose(after.log_prior, fresh.log_prior)
    np.testing.assert_allclose(after.prefill_s, fresh.prefill_s)


def test_the_same_rows_elsewhere_get_the_coefficients_there() -> None:
    prior = PhysicsPrior()
    teach(prior, fleet_observations(200, slow=3.0))
    rows = np.repeat(fleet_observations(1)[0].features[None], 2, axis=0)

    there = prior.predict(rows, BOTH, (None, None)).log_prior
    back = prior.predict(rows, BOTH[::-1], (None, None)).log_prior

    np.testing.assert_array_equal(there, back[:, ::-1])
    assert there[0, 1] > there[0, 0] + 0.5


def test_what_is_written_into_a_prediction_changes_no_other() -> None:
    prior, row = PhysicsPrior(), np.zeros((1, N_FEATURES))
    said = prior.predict(row, ["a:1"], [None])
    before = float(said.prefill_token_s[0])

    said.prefill_token_s[0] = 0.0

    assert prior.predict(row, ["a:1"], [None]).prefill_token_s[0] == before
