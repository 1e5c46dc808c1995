"""Say what every endpoint holds of a prompt, by the better of two indexes.

Where an endpoint announces its KV cache, nothing was missed, and the prompt's tokens are
known, the exact index answers; otherwise, for that endpoint, the approximate one does,
which is kept up to date for all. Requests that are being computed count as held, as an
engine lets others find their blocks from the step that computes them. An endpoint whose
reports disagree with its own announcements is left to the approximate index for a while.
Called by the scheduler and the decider.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

import numpy as np

from predictor.features import TIERS
from predictor.kv_cache import BlocksCleared, KvEvent, TokenBlocks, chain, root
from predictor.types import Decision, EndpointState, FloatArray, RequestFeatures
from predictor.values import Value
from scheduler.endpoint_table import EndpointTable, Rows
from scheduler.exact_index import ExactIndex
from scheduler.kernels import BoolArray
from scheduler.prefix_index import PrefixIndex
from scheduler.settings import SchedulerSettings

_Coming = tuple[int, tuple[int, ...]]  # row and blocks

# How long what a finished request computed counts as held before it is announced. vLLM
# announces in a thread beside its engine: 2 ms later on an idle machine, 3 s on a crowded one.
ANNOUNCED_WITHIN_S: Final = 3.0
# Weight of one report in an endpoint's agreement, which starts at 1: six in a row that
# disagree make it lose its trust, one in three never does.
AGREEMENT_WEIGHT: Final = 0.12
LEAST_AGREEMENT: Final = 0.5
# How long an endpoint is then estimated: a crowded one announces late, and catches up.
DISTRUST_S: Final = 30.0


class Matches(Value):
    """Tell how much of a prompt each of ``n`` endpoints holds, in tokens.

    Attributes:
        believed: ``(n, len(TIERS))`` believed held.
        trust: ``(n,)`` the share of them that is really found, by experience.
        tokens: ``(n,)`` believed held in all tiers together.
    """

    believed: FloatArray
    trust: FloatArray
    tokens: FloatArray


class PrefixCaches:
    """Hold both indexes.

    Args:
        approximate: Of what was sent where.
        exact: Of what was announced.
        table: Where endpoints have their rows.
    """

    def __init__(
        self, *, approximate: PrefixIndex, exact: ExactIndex, table: EndpointTable
    ) -> None:
        self._approximate = approximate
        self._exact = exact
        self._table = table
        self._followed: dict[str, int] = {}  # rows of endpoints that announce
        self._states: dict[str, EndpointState] = {}  # of these
        self._agreement: dict[str, float] = {}
        self._distrusted_until_s: dict[str, float] = {}
        self._coming: dict[str, _Coming] = {}  # by request
        self._done: deque[tuple[float, _Coming]] = deque()  # ended, not all announced

    # What can be asked

    def match(
        self, request: RequestFeatures, rows: Rows, *, block_tokens: float, most: float
    ) -> Matches:
        """Count the prompt's tokens that each endpoint holds.

        Args:
            request: Whose prompt.
            rows: ``(n,)`` endpoints.
            block_tokens: Tokens one of the request's approximate blocks stands for.
            most: Tokens that can be found at most.
        """
        blocks = request.token_blocks
        known = self._exact.known_with(blocks) if blocks else 0
        if known:
            exact = np.array([known >> row & 1 for row in rows.tolist()], bool)
            if exact.any():
                return self._announced_match(request, rows, exact, block_tokens, most)
        if not self._approximate.knows(request.block_hashes):
            return _no_matches(len(rows))
        matched = self._approximate.matched_blocks(request.block_hashes, rows)
        self._to_tokens(matched, block_tokens, most)
        return _matches(matched, self._table.effectiveness(rows))

    def _announced_match(
        self,
        request: RequestFeatures,
        rows: Rows,
        exact: BoolArray,
        block_tokens: float,
        most: float,
    ) -> Matches:
        """Ask those endpoints exactly that announce, and estimate the others."""
        if exact.all():
            matched, trust = np.zeros((len(rows), len(TIERS))), np.ones(len(rows))
        else:
            matched = self._approximate.matched_blocks(request.block_hashes, rows)
            self._to_tokens(matched, block_tokens, most)
            trust = self._table.effectiveness(rows)
            trust[exact] = 1.0
        self._exact.match(request.token_blocks, rows, exact, into=matched, most=most)
        return _matches(matched, trust)

    def _to_tokens(self, blocks: FloatArray, block_tokens: float, most: float) -> None:
        change = _tiers_to_tokens if self._approximate.tiered else _to_tokens
        change(blocks, block_tokens, most)

    def announced(self, request: RequestFeatures, row: int) -> bool:
        """Say whether the endpoint itself told what it holds of the prompt."""
        if not request.token_blocks:
            return False
        return bool(self._exact.known_with(request.token_blocks) >> row & 1)

    def block_sizes(self, model: str) -> set[int]:
        """Give the block sizes that exact matches of a model need; empty: none is possible."""
        names = [name for name, state in self._states.items() if _serves(state, model)]
        sizes = {self._exact.block_tokens(self._followed[name]) for name in names}
        return {size for size in sizes if size is not None}

    def token_blocks(self, model: str, tokens: bytes, salt: str | None) -> TokenBlocks:
        """Name the blocks of a tokenized prompt, as endpoints of its model announce them.

        Args:
            model: The model or adapter asked for.
            tokens: Ids, four little-endian bytes each.
            salt: Cache salt, ``None`` for none.
        """
        state = next((one for one in self._states.values() if _serves(one, model)), None)
        if state is None:
            return {}
        itself = model in {"", state.model, *state.aliases}
        start = root(None if itself else model, salt)
        return {size: chain(tokens, size, start) for size in self.block_sizes(model)}

    @property
    def speak(self) -> bool:
        """Say whether any endpoint can be asked exactly."""
        return bool(self._exact.known)

    def exact(self, endpoint: str) -> bool | None:
        """Say whether announcements decide for an endpoint; ``None``: it announces nothing."""
        row = self._followed.get(endpoint)
        return None if row is None else bool(self._exact.known >> row & 1)

    @property
    def announced_blocks(self) -> int:
        """Count the distinct blocks that endpoints have announced."""
        return len(self._exact)

    @property
    def most_blocks(self) -> int:
        """Give how many of these are kept at most."""
        return self._exact.most_blocks

    # What happens

    def configure(self, settings: SchedulerSettings) -> None:
        """Take other bounds into force."""
        self._approximate.default_capacity_blocks = settings.prefix_blocks
        self._approximate.total_blocks = settings.prefix_total_blocks
        self._exact.most_blocks = settings.announced_blocks

    def resize(self, state: EndpointState, *, block_tokens: float) -> None:
        """Take in how much an endpoint says it can hold."""
        self._approximate.resize(state, block_tokens=block_tokens)
        row = self._followed.get(state.endpoint)
        if row is not None:
            self._states[state.endpoint] = state
            self._exact.resize(
                row, block_tokens=state.block_size, capacity_tokens=state.kv_capacity_tokens
            )

    def hear(self, endpoint: str, events: Iterable[KvEvent]) -> None:
        """Take in what an endpoint announces."""
        events = tuple(events)
        self._exact.apply(self._follow(endpoint), events)
        if any(isinstance(event, BlocksCleared) for event in events):
            self._believe(endpoint)
            self._approximate.empty(endpoint)

    def begin(self, endpoint: str, *, whole: bool) -> None:
        """Follow an endpoint from its beginning (``whole``), or from somewhere after it."""
        self._exact.follow(self._follow(endpoint), whole=whole)
        self._believe(endpoint)

    def lose(self, endpoint: str) -> None:
        """Note that announcements of an endpoint may have been missed."""
        self._exact.lose(self._follow(endpoint))

    def sent(self, endpoint: str, request: RequestFeatures) -> None:
        """Note that a request went to an endpoint."""
        if request.block_hashes:
            self._approximate.insert(endpoint, request.block_hashes)
        row = self._followed.get(endpoint) if request.token_blocks else None
        if row is not None:
            coming = self._exact.expect(row, request.token_blocks)
            if coming:
                self._coming[request.request_id] = row, coming

    def sent_elsewhere(self, endpoint: str, hashes: Sequence[int]) -> None:
        """Note that another worker sent a prompt with these blocks to an endpoint."""
        self._approximate.insert(endpoint, hashes)

    def reported_elsewhere(
        self, endpoint: str, *, matched_tokens: float, cached_tokens: int
    ) -> None:
        """Learn from what an endpoint told another worker it found of an estimated match."""
        self._approximate.report(
            endpoint, matched_tokens=matched_tokens, cached_tokens=cached_tokens
        )

    def left(self, request_id: str, *, computed: bool, now: float) -> None:
        """Note that a request is no longer at the endpoint it was sent to.

        Args:
            request_id: Which.
            computed: Whether its prompt was; announcements of that may still be on the way.
            now: Clock in seconds.
        """
        coming = self._coming.pop(request_id, None)
        if coming is not None and computed:
            self._done.append((now + ANNOUNCED_WITHIN_S, coming))
        elif coming is not None:
            self._exact.release(*coming)
        while self._done and self._done[0][0] <= now:
            self._exact.release(*self._done.popleft()[1])

    def report(self, decision: Decision, cached_tokens: int | None) -> None:
        """Learn from what the chosen endpoint says it found of a match."""
        if cached_tokens is None:
            return
        endpoint, matched = decision.endpoint, float(decision.matched_tokens[decision.chosen])
        if not decision.announced:
            self._approximate.report(endpoint, matched_tokens=matched, cached_tokens=cached_tokens)
            until_s = self._distrusted_until_s.get(endpoint)
            if until_s is not None and decision.decided_s >= until_s:
                self._believe(endpoint)
            return
        before = self._agreement.get(endpoint, 1.0)
        agrees = float(matched == cached_tokens)
        after = self._agreement[endpoint] = before + AGREEMENT_WEIGHT * (agrees - before)
        if after < LEAST_AGREEMENT:
            self._distrusted_until_s[endpoint] = decision.decided_s + DISTRUST_S
            self._exact.trust(self._follow(endpoint), trusted=False)

    def clear(self, endpoint: str) -> None:
        """Note that an endpoint has restarted; its announcements tell that by themselves."""
        self._approximate.clear(endpoint)

    def forget(self, endpoint: str) -> None:
        """Forget an endpoint that has left."""
        self._approximate.clear(endpoint)
        self._agreement.pop(endpoint, None)
        self._distrusted_until_s.pop(endpoint, None)
        self._states.pop(endpoint, None)
        row = self._followed.pop(endpoint, None)
        if row is not None:  # the next endpoint may have it
            self._exact.forget(row)
            self._coming = {id_: one for id_, one in self._coming.items() if one[0] != row}
            self._done = deque(item for item in self._done if item[1][0] != row)

    def _believe(self, endpoint: str) -> None:
        """Begin anew to compare announcements with reports."""
        self._agreement.pop(endpoint, None)
        self._distrusted_until_s.pop(endpoint, None)
        self._exact.trust(self._follow(endpoint), trusted=True)

    def _follow(self, endpoint: str) -> int:
        row = self._followed.get(endpoint)
        if row is None:
            row = self._followed[endpoint] = self._table.row(endpoint)
        return row


def caches_of(settings: SchedulerSettings, table: EndpointTable) -> PrefixCaches:
    """Build both indexes."""
    return PrefixCaches(
        approximate=PrefixIndex(
            default_capacity_blocks=settings.prefix_blocks,
            total_blocks=settings.prefix_total_blocks,
            table=table,
        ),
        exact=ExactIndex(table, most_blocks=settings.announced_blocks),
        table=table,
    )


@lru_cache(maxsize=64)
def _no_matches(n: int) -> Matches:
    """Give zeros, which nobody writes to: the same each time."""
    zeros = np.zeros(n)
    return Matches(believed=np.zeros((n, len(TIERS))), trust=zeros, tokens=zeros)


def _matches(believed: FloatArray, trust: FloatArray) -> Matches:
    return Matches(believed=believed, trust=trust, tokens=np.add.reduce(believed, axis=1))


def _to_tokens(blocks: FloatArray, block_tokens: float, most: float) -> None:
    """Turn matched blocks, ``(n, len(TIERS))`` and all on the GPU, into tokens, in place."""
    gpu = blocks[:, 0]
    gpu *= block_tokens
    np.minimum(gpu, most, out=gpu)


def _tiers_to_tokens(blocks: FloatArray, block_tokens: float, most: float) -> None:
    """Turn matched blocks of any tier likewise; the nearest tiers have the first tokens."""
    np.cumsum(blocks, axis=1, out=blocks)
    blocks *= block_tokens
    np.minimum(blocks, most, out=blocks)
    blocks[:, 2] -= blocks[:, 1]
    blocks[:, 1] -= blocks[:, 0]


def _serves(state: EndpointState, model: str) -> bool:
    return not model or model == state.model or model in state.adapters
