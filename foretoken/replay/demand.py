"""Recorded requests as demand: what clients would send to any policy and any fleet.

Decides what counts as demand (all that asked for tokens, the shed and the failed
included; not what the router or an endpoint refused as wrong, nor what a response cache
answered) and what is put where nothing was recorded: answers nobody saw are as long as
those of a random answered request. Called by :mod:`foretoken.replay.question`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from foretoken.errors import TraceNotReplayable
from foretoken.replay.contents import Contents, write_contents
from foretoken.replay.recorded import Recorded
from simulator.content import block_hashes
from simulator.traffic import Chain, TrafficRequest
from simulator.types import SimRequest
from simulator.workloads.block_ids import own_ids
from simulator.workloads.lengths import MOST_TOKENS

_SEED: Final = "answers that were not recorded"
LEAST_ANSWERED: Final = 20
"""Answered requests below which a trace says too little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Hold what clients sent. Requests are numbered anew, without those left out.

    Attributes:
        requests: As recorded.
        prompt_tokens: Of each.
        output_tokens: Of each answer, recorded or drawn.
        contents: What prompts share.
        drawn: How many answers' lengths were drawn.
        left_out: How many rows were no demand, by why.
    """

    requests: tuple[Recorded, ...]
    prompt_tokens: tuple[int, ...]
    output_tokens: tuple[int, ...]
    contents: Contents
    drawn: int
    left_out: dict[str, int]

    @property
    def longest_tokens(self) -> int:
        """Give the tokens of the largest request, prompt and output."""
        return max(map(sum, zip(self.prompt_tokens, self.output_tokens, strict=True)))

    def traffic(self, *, times: float = 1.0) -> list[TrafficRequest]:
        """Give the requests in the simulator's form, ``times`` as many a second."""
        return [self._request(one, times) for one in self.requests]

    def chains(self, *, times: float = 1.0) -> list[Chain]:
        """Give them so that a turn waits for the answer it goes on from, and no other does."""
        follows = self.contents.parents
        chains: dict[int, list[TrafficRequest]] = {}
        chain_of: dict[int, int] = {}
        last: dict[int, int] = {}
        for number, request in enumerate(self.traffic(times=times)):
            parent = follows.get(number)
            chain = number if parent is None else chain_of[parent]
            if parent is not None and last[chain] != parent:
                chain = number  # its parent went on otherwise, too: a chain has one line
            chain_of[number], last[chain] = chain, number
            chains.setdefault(chain, []).append(request)
        return [iter(chain) for chain in chains.values()]

    def sim_request(self, number: int, block_size: int) -> SimRequest:
        """Give one request as an engine takes it."""
        answer = (own_ids(number)[1], self.output_tokens[number])
        return SimRequest(
            request_id=str(number),
            prompt_tokens=self.prompt_tokens[number],
            output_tokens=self.output_tokens[number],
            block_hashes=block_hashes((*self.contents.prompts[number], answer), block_size),
            priority=-self.requests[number].priority,
        )

    def _request(self, one: Recorded, times: float) -> TrafficRequest:
        asked = one.max_tokens
        return TrafficRequest(
            session_id=one.session or f"request-{one.number}",
            segments=self.contents.prompts[one.number],
            prompt_tokens=self.prompt_tokens[one.number],
            output_tokens=self.output_tokens[one.number],
            answer_id=own_ids(one.number)[1],
            at_s=one.arrived_s / times,
            priority=-one.priority,  # ours grows with urgency, vLLM's falls
            tier=one.tier,
            max_tokens=asked if asked is not None and 1 <= asked <= MOST_TOKENS else None,
            tenant=one.tenant,
            request_id=str(one.number),
            objective_ttft_s=one.objective.ttft_s,
            objective_tpot_s=one.objective.tpot_s,
        )


def demand_of(recorded: Sequence[Recorded]) -> Demand:
    """Make demand of recorded requests.

    Raises:
        TraceNotReplayable: Too few were answered, or no request's times were recorded.
    """
    kept: list[Recorded] = []
    left_out: dict[str, int] = {}
    for one in recorded:
        if (why := _no_demand(one)) is None:
            kept.append(replace(one, number=len(kept)))
        else:
            left_out[why] = left_out.get(why, 0) + 1
    answered = [one for one in kept if one.completed and one.output_tokens]
    timed = [one for one in answered if one.e2e_s is not None and one.dispatched_s is not None]
    if len(timed) < LEAST_ANSWERED:
        raise TraceNotReplayable(
            f"{len(timed)} requests were answered with known times and lengths; at least "
            f"{LEAST_ANSWERED} are needed to say anything"
        )
    sizes = [one for one in answered if one.prompt_tokens and one.prompt_bytes]
    size_bytes = sum(one.prompt_bytes for one in sizes)
    tokens_per_byte = sum(one.prompt_tokens or 0 for one in sizes) / size_bytes if sizes else 0.0
    rng = Random(_SEED)
    lengths = [one.output_tokens or 1 for one in answered]
    drawn = [number for number, one in enumerate(kept) if not _has_length(one)]
    prompt_tokens = [_prompt_tokens(one, tokens_per_byte) for one in kept]
    output_tokens = [
        min(one.output_tokens or 1, MOST_TOKENS) if _has_length(one) else rng.choice(lengths)
        for one in kept
    ]
    contents = write_contents(kept, prompt_tokens, output_tokens, tokens_per_byte)
    return Demand(
        requests=tuple(kept),
        prompt_tokens=tuple(prompt_tokens),
        output_tokens=tuple(output_tokens),
        contents=contents,
        drawn=len(drawn),
        left_out=left_out,
    )


def _no_demand(one: Recorded) -> str | None:
    if one.outcome == "client_error":
        return "an endpoint refused them as wrong"
    if one.outcome == "completed" and one.endpoint is None:
        return "a cache answered them"
    if one.outcome == "completed" and not one.output_tokens:
        return "they generated nothing"
    return None


def _has_length(one: Recorded) -> bool:
    """Tell whether the answer's length is known: a client who left saw all it wanted."""
    return one.outcome in {"completed", "client_gone"} and bool(one.output_tokens)


def _prompt_tokens(one: Recorded, tokens_per_byte: float) -> int:
    guess = one.prompt_tokens or round(one.prompt_bytes * tokens_per_byte)
    return min(max(guess, 1), MOST_TOKENS)
