"""Arms whose prefix index looks at no more than the first tokens of a prompt.

llm-d's index did so when the first results were published: it matched 256 blocks of 16
tokens, and two prompts that agree in these were one to it. With conversations of tens of
thousands of tokens that decides who sticks where, for the predictor and its siblings.
"""

from dataclasses import replace
from typing import ClassVar

import msgspec
import numpy as np

from foretoken.simulation.arms import ARMS, Arm, Brain
from foretoken.simulation.llmd_predictor import RETRAIN_S, LlmdLatencyPolicy, LlmdPredictor
from foretoken.simulation.world import World
from scheduler import Policy
from scheduler.candidates import Candidates, Signal, Terms


class ShortSighted:
    """Show a policy the beginning of each prompt only.

    Args:
        policy: Scores candidates.
        match_tokens: Tokens that the index looks at.
    """

    name: ClassVar[str] = "short_sighted"
    needs: ClassVar[frozenset[Signal]] = frozenset({"prefix_matches"})

    def __init__(self, policy: Policy, match_tokens: int) -> None:
        self._policy = policy
        self._match_tokens = match_tokens

    def terms(self, candidates: Candidates) -> Terms:
        """Give the policy's terms for the beginning of the prompt."""
        return self._policy.terms(
            msgspec.structs.replace(
                candidates,
                prompt_tokens=min(candidates.prompt_tokens, self._match_tokens),
                matched_tokens=np.minimum(candidates.matched_tokens, self._match_tokens),
            )
        )


def arm(name: str, match_tokens: int | None) -> Arm:
    """Give an arm whose index looks at ``match_tokens``, ``None`` for the whole prompt."""
    known = ARMS[name]
    if match_tokens is None:
        return known
    if name == LlmdLatencyPolicy.name:
        return Arm(name=name, build=lambda _: _predictor(match_tokens))

    def build(world: World) -> Brain:
        brain = known.build(world)
        return replace(brain, policy=ShortSighted(brain.policy, match_tokens))

    return Arm(name=name, build=build)


def _predictor(match_tokens: int) -> Brain:
    predictor = LlmdPredictor(match_tokens=match_tokens)
    return Brain(
        policy=LlmdLatencyPolicy(match_tokens=match_tokens),
        predictor=predictor,
        train=predictor.train,
        train_every_s=RETRAIN_S,
    )
