"""Which index answers for which endpoint, and what makes that change."""

from array import array

import numpy as np

from predictor.kv_cache import BlocksCleared, BlocksStored
from predictor.types import Decision, EndpointState, RequestFeatures
from predictor.values import replace
from scheduler.endpoint_table import EndpointTable
from scheduler.prefix_caches import ANNOUNCED_WITHIN_S, DISTRUST_S, caches_of
from scheduler.settings import SchedulerSettings

A, B = "a:1", "b:1"
SIZE = 16
PROMPT = array("I", range(64)).tobytes()


class Caches:
    """Two endpoints of a model: ``a`` announces its blocks, ``b`` does not."""

    def __init__(self) -> None:
        table = EndpointTable()
        self.caches = caches_of(SchedulerSettings(), table)
        self.rows = np.array([table.row(A), table.row(B)])
        self.caches.begin(A, whole=True)
        for name in (A, B):
            state = EndpointState(
                endpoint=name,
                url="",
                model="m",
                adapters=("alias", "lora"),
                aliases=("alias",),
                block_size=SIZE,
                kv_capacity_tokens=10_000,
            )
            self.caches.resize(state, block_tokens=64.0)

    def request(self, number: str = "r", model: str = "m") -> RequestFeatures:
        return RequestFeatures(
            request_id=number,
            arrived_s=0.0,
            model=model,
            prompt_bytes=256,
            prompt_tokens=64,
            block_hashes=(1,),
            token_blocks=self.caches.token_blocks(model, PROMPT, None),
        )

    def matched(self, request: RequestFeatures) -> list[float]:
        found = self.caches.match(request, self.rows, block_tokens=64.0, most=63).believed
        on_gpu: list[float] = found[:, 0].tolist()
        return on_gpu

    def announce(self, blocks: int) -> None:
        event = BlocksStored(
            hashes=list(range(blocks)),
            parent=None,
            tokens=PROMPT[: blocks * SIZE * 4],
            block_tokens=SIZE,
        )
        self.caches.hear(A, [event])

    def report(self, request: RequestFeatures, cached_tokens: int, now: float = 0.0) -> None:
        """Let the endpoint that announces say what it found."""
        matched = np.array(self.matched(request))
        decision = Decision(
            endpoints=(A, B),
            features=np.zeros((2, 1)),
            matched_tokens=matched,
            predictions=None,
            costs=matched,
            chosen=0,
            order=(0, 1),
            policy="p",
            reason="r",
            announced=self.caches.announced(request, int(self.rows[0])),
            prompt_tokens=64,
            decided_s=now,
        )
        self.caches.report(decision, cached_tokens)


def test_each_endpoint_is_known_as_well_as_it_can_be() -> None:
    given = Caches()
    request = given.request()
    given.caches.sent(B, request)
    given.announce(2)

    assert given.matched(request) == [32, 63]
    assert given.caches.announced(request, int(given.rows[0]))
    assert not given.caches.announced(request, int(given.rows[1]))
    assert (given.caches.exact(A), given.caches.exact(B)) == (True, None)


def test_the_last_token_is_always_computed() -> None:
    given = Caches()
    given.announce(4)

    assert given.matched(given.request()) == [48, 0]


def test_without_tokens_all_are_estimated() -> None:
    given = Caches()
    given.announce(4)
    request = replace(given.request(), token_blocks={})
    given.caches.sent(A, request)

    assert given.matched(request) == [63, 0]


def test_an_alias_is_the_model_itself_and_an_adapter_is_not() -> None:
    given = Caches()
    given.announce(4)

    assert given.matched(given.request(model="alias")) == [48, 0]
    assert given.matched(given.request(model="lora")) == [0, 0]
    assert given.caches.token_blocks("other", PROMPT, None) == {}


def test_a_prompt_under_way_counts_until_its_announcement_must_have_come() -> None:
    given = Caches()
    given.caches.sent(A, given.request("first"))
    assert given.matched(given.request()) == [48, 0]

    given.caches.left("first", computed=True, now=0.0)
    given.caches.left("another", computed=True, now=ANNOUNCED_WITHIN_S / 2)
    assert given.matched(given.request()) == [48, 0]

    given.caches.left("another", computed=True, now=ANNOUNCED_WITHIN_S)
    assert given.matched(given.request()) == [0, 0]


def test_a_prompt_whose_dispatch_failed_is_not_held() -> None:
    given = Caches()
    given.caches.sent(A, given.request("first"))

    given.caches.left("first", computed=False, now=0.0)

    assert given.matched(given.request()) == [0, 0]


def test_one_whose_reports_contradict_its_announcements_is_estimated() -> None:
    given = Caches()
    given.announce(4)
    for _ in range(3):
        given.report(given.request(), 0)
    given.report(given.request(), 48)
    assert given.caches.exact(A)

    for _ in range(6):
        given.report(given.request(), 0)

    assert not given.caches.exact(A)
    assert given.caches.block_sizes("m") == set()
    given.report(given.request(), 0, now=DISTRUST_S - 1.0)
    assert not given.caches.exact(A)
    given.report(given.request(), 0, now=DISTRUST_S)
    assert given.caches.exact(A)


def test_one_that_clears_its_cache_is_believed_again_at_once() -> None:
    given = Caches()
    given.announce(4)
    for _ in range(6):
        given.report(given.request(), 0)
    assert not given.caches.exact(A)

    given.caches.hear(A, [BlocksCleared()])

    assert given.caches.exact(A)


def test_a_cleared_cache_is_empty_for_both() -> None:
    given = Caches()
    given.announce(4)
    bare = replace(given.request(), token_blocks={})
    given.caches.sent(A, bare)

    given.caches.hear(A, [BlocksCleared()])

    assert given.matched(given.request()) == [0, 0]
    assert given.matched(bare) == [0, 0]


def test_one_that_has_left_leaves_nothing_behind() -> None:
    given = Caches()
    given.announce(4)
    given.caches.sent(A, given.request("first"))

    given.caches.forget(A)

    assert given.caches.announced_blocks == 0
    assert not given.caches.speak
    given.caches.left("first", computed=True, now=0.0)
