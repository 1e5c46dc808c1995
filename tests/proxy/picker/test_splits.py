"""However Envoy cuts its messages, and whatever breaks off: the same bytes, and one end."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.proxy.picker.told import (
    BUFFERED,
    DONE,
    DUPLEX,
    EVENT,
    NONE,
    STREAMED,
    USAGE,
    Table,
    Told,
    body_of,
    chat,
    cut,
)

SIZES = st.lists(st.integers(1, 200), min_size=1, max_size=6)
MODES = st.sampled_from([NONE, STREAMED, BUFFERED, DUPLEX])


@given(sizes=SIZES, back=SIZES, trailers=st.booleans(), asked=st.booleans())
def test_a_full_duplex_exchange_does_not_depend_on_its_cuts(
    sizes: list[int], back: list[int], *, trailers: bool, asked: bool
) -> None:
    table = Table()
    told = Told(table.processing(), DUPLEX, DUPLEX)
    options = {"stream_options": {"include_usage": True}} if asked else {}
    request, response = chat(stream=True, **options), EVENT * 3 + USAGE + DONE

    sent = told.request_headers()
    for piece in cut(request, sizes):
        sent += told.request_body(piece, end=False)
    sent += told.request_trailers() if trailers else told.request_body(b"")
    came = told.response_headers(stream=True)
    for piece in cut(response, back):
        came += told.response_body(piece, end=False)
    came += told.response_trailers() if trailers else told.response_body(b"")

    body, ended = body_of(sent)
    assert ended is not trailers
    if asked:
        assert body == request
    else:
        assert body == request[:-1] + b',"stream_options":{"include_usage":true}}'
    shown, ended = body_of(came, "response_body")
    assert shown == (response if asked else response.replace(USAGE, b""))
    assert ended is not trailers
    (record,) = table.records
    assert record.measurement.outcome == "completed"
    assert record.measurement.output_tokens == 2
    assert record.measurement.token_events == 3


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    modes=st.lists(st.tuples(MODES, MODES, st.booleans()), min_size=1, max_size=8),
)
def test_nothing_stays_booked_whatever_breaks_off(
    seed: int, modes: list[tuple[object, object, bool]]
) -> None:
    rng, table = random.Random(seed), Table()
    table.picker.hold = lambda processing, _: processing.let_go()  # type: ignore[method-assign]
    scripts = []
    for mode, response_mode, observing in modes:
        told = Told(table.processing(), mode, response_mode, observing=observing)  # type: ignore[arg-type]  # drawn
        scripts.append((told, _script(told, rng)))

    for told, script in rng.sample(scripts, len(scripts)):
        for step in script[: rng.randrange(len(script) + 1)]:
            table.clock.now += rng.random()
            step()
        if rng.random() < 0.5:
            told.processing.ended()
    for told, _ in scripts:
        told.processing.ended()

    assert table.scheduler.inflight_requests == 0
    assert table.picker.live_requests == 0
    ids = [record.request.request_id for record in table.records]
    assert len(ids) == len(set(ids)) <= len(modes)


def _script(told: Told, rng: random.Random) -> list[object]:
    stream = rng.random() < 0.5
    request = chat(stream=stream)
    response = (EVENT + DONE) if stream else b'{"usage":{"completion_tokens":3}}'
    middle = rng.randrange(len(response))
    script = [
        lambda: told.request_headers(length=len(request)),
        lambda: told.request_body(request),
        lambda: told.response_headers(stream=stream, status=rng.choice([200, 404, 503])),
        lambda: told.response_body(response[:middle], end=False),
        lambda: told.response_body(response[middle:], end=rng.random() < 0.5),
        told.response_trailers,
    ]
    return list(script)
