"""The experts whose predictions are mixed: their names, order, and first reputation."""

from types import MappingProxyType
from typing import Final

EXPERTS: Final = (
    "smooth", "prior", "ratio", "direct", "prior_bias", "ratio_bias", "fleet_bias", "prior_river",
)  # fmt: skip
"""Rows of ``Predictions.experts``: fleet physics, each endpoint's own, the two boosted
models, the second and third with their bias, ``ratio`` (physics before it is trained) with
the last residuals of the whole fleet, and physics with river's regression."""
DOUBTS: Final = MappingProxyType({
    "prior": 0.1, "direct": 0.1, "prior_river": 0.15,
    "prior_bias": 0.2, "ratio_bias": 0.2, "fleet_bias": 0.2,
})  # fmt: skip
"""What each is assumed to be worse than ``smooth`` by, as mean absolute log error, before
labels: the more it follows single labels, the more a cold burst misleads it."""

LAYERS: Final = MappingProxyType({
    "smooth": "physics", "prior": "physics", "ratio": "boosted", "direct": "boosted",
    "prior_bias": "correction", "ratio_bias": "correction", "fleet_bias": "correction",
    "prior_river": "correction",
})  # fmt: skip
"""What each is made of: physics alone, a boosted model, or either with an online correction."""

N_EXPERTS: Final = len(EXPERTS)
SMOOTH, PRIOR, RATIO, DIRECT, PRIOR_BIAS, RATIO_BIAS, FLEET_BIAS, PRIOR_RIVER = range(N_EXPERTS)
"""Their positions."""
