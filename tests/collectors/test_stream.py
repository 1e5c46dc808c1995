import json
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from collectors.stream import StreamKind, StreamObserver
from collectors.usage import UNKNOWN_USAGE, Usage
from tests.fakes import chunk

USAGE = {
    "prompt_tokens": 63,
    "total_tokens": 66,
    "completion_tokens": 3,
    "prompt_tokens_details": {"cached_tokens": 32},
}
METRICS = {"time_to_first_token_ms": 38.75, "queue_time_ms": 1.25, "mean_itl_ms": 4.0}


def data(value: object) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def chat(delta: dict[str, object]) -> bytes:
    return data({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})


ROLE = chat({"role": "assistant", "content": ""})
HELLO = chat({"content": "hello"})
EMPTY = chat({"content": ""})
QUOTED = chat({"content": 'say "usage":{} and "choices":[] [DONE] "error"'})
FINAL = data({"id": "c", "choices": [], "usage": USAGE, "metrics": METRICS})
DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
STREAM = ROLE + HELLO + KEEP_ALIVE + EMPTY + QUOTED + FINAL + DONE
TOLD = Usage(
    prompt_tokens=63, cached_tokens=32, output_tokens=3, queue_s=0.00125, prefill_s=0.03875,
    itl_s=0.004,
)  # fmt: skip

RESPONSES = b"".join(
    b"event: " + str(event["type"]).encode() + b"\n" + data(event)
    for event in (
        {"type": "response.created", "response": {"usage": None, "error": None}},
        {"type": "response.output_item.added", "item": {}},
        {"type": "response.output_text.delta", "delta": "a"},
        {"type": "response.output_text.delta", "delta": "b"},
        {
            "type": "response.completed",
            "response": {
                "usage": {
                    "input_tokens": 9,
                    "output_tokens": 2,
                    "input_tokens_details": {"cached_tokens": 4},
                }
            },
        },
    )
)


def observe(
    chunks: list[bytes],
    *,
    kind: StreamKind = "chat",
    hide_usage: bool = False,
    held_bytes: int = 1 << 20,
) -> tuple[StreamObserver, bytes]:
    observer = StreamObserver(kind, hide_usage=hide_usage, held_bytes=held_bytes)
    relayed = b"".join([observer.feed(chunk) for chunk in chunks] + [observer.flush()])
    return observer, relayed


def facts(observer: StreamObserver) -> tuple[object, ...]:
    return (
        observer.first_token, observer.token_events, observer.done, observer.failed, observer.usage
    )  # fmt: skip


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


def test_role_alone_is_not_a_token_and_the_next_event_is() -> None:
    observer = StreamObserver("chat", hide_usage=False)

    observer.feed(ROLE)
    after_role = observer.first_token
    observer.feed(EMPTY)

    assert not after_role
    assert observer.first_token


def test_role_and_first_token_in_one_chunk_is_a_token() -> None:
    observer, _ = observe([ROLE + HELLO])

    assert observer.first_token
    assert observer.token_events == 1


@pytest.mark.parametrize("field", ["content", "reasoning_content", "reasoning"])
def test_output_beside_the_role_is_a_token(field: str) -> None:
    observer, _ = observe([chat({"role": "assistant", field: "x"})])

    assert observer.first_token


def test_tool_calls_are_tokens() -> None:
    observer, _ = observe([chat({"role": "assistant", "tool_calls": [{"index": 0}]})])

    assert observer.first_token


def test_role_null_with_content_is_a_token() -> None:
    observer, _ = observe([chat({"role": None, "content": ""})])

    assert observer.first_token


def test_roles_of_several_choices_are_no_tokens() -> None:
    roles = [{"index": n, "delta": {"role": "assistant", "content": ""}} for n in (0, 1)]

    observer, _ = observe([data({"choices": [role]}) for role in roles])

    assert not observer.first_token


def test_empty_text_of_a_completion_is_a_token() -> None:
    observer, _ = observe([data({"choices": [{"text": ""}]})], kind="completions")

    assert observer.first_token


def test_keep_alive_comments_pass_and_are_no_tokens() -> None:
    observer, relayed = observe([KEEP_ALIVE, KEEP_ALIVE])

    assert relayed == KEEP_ALIVE * 2
    assert not observer.first_token


def test_usage_and_times_are_read_from_the_last_event() -> None:
    observer, relayed = observe([STREAM])

    assert observer.usage == TOLD
    assert observer.usage.ttft_s == pytest.approx(0.04)
    assert observer.output_tokens == 3
    assert observer.done
    assert relayed == STREAM


def test_without_usage_the_events_are_counted() -> None:
    observer, _ = observe([ROLE, HELLO, EMPTY, DONE])

    assert observer.usage == UNKNOWN_USAGE
    assert observer.output_tokens == 2


def test_without_a_token_the_count_is_unknown() -> None:
    observer, _ = observe([ROLE])

    assert observer.output_tokens is None


def test_hidden_usage_is_still_read() -> None:
    observer, relayed = observe([STREAM], hide_usage=True)

    assert relayed == STREAM.replace(FINAL, b"")
    assert observer.usage == TOLD


def test_usage_beside_choices_is_never_hidden() -> None:
    beside = data({"choices": [{"delta": {"content": "x"}}], "usage": USAGE})

    observer, relayed = observe([HELLO, beside], hide_usage=True)

    assert relayed == HELLO + beside
    assert observer.usage.cached_tokens == 32
    assert observer.token_events == 2


def test_spaces_in_the_json_change_nothing() -> None:
    spaced = b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\n"

    observer, relayed = observe([HELLO, spaced], hide_usage=True)

    assert relayed == HELLO
    assert observer.usage.prompt_tokens == 63


def test_null_usage_is_not_usage() -> None:
    null = data({"choices": [{"delta": {"content": "x"}}], "usage": None})

    observer, relayed = observe([FINAL, null], hide_usage=True)

    assert relayed == null
    assert observer.usage == TOLD


def test_error_event_is_seen_and_relayed() -> None:
    error = b'data: {"error": {"message": "engine died", "code": 500}}\n\n'

    observer, relayed = observe([HELLO, error, DONE], hide_usage=True)

    assert observer.failed
    assert observer.token_events == 1
    assert relayed == HELLO + error + DONE


def test_words_quoted_in_the_output_mean_nothing() -> None:
    observer, relayed = observe([HELLO, QUOTED], hide_usage=True)

    assert relayed == HELLO + QUOTED
    assert facts(observer) == (True, 2, False, False, UNKNOWN_USAGE)


def test_whole_chunks_are_returned_as_the_same_object() -> None:
    observer = StreamObserver("chat", hide_usage=True)
    observer.feed(HELLO)

    assert observer.feed(HELLO) is HELLO


def test_incomplete_event_is_held_back_only_while_hiding() -> None:
    hiding = StreamObserver("chat", hide_usage=True)
    showing = StreamObserver("chat", hide_usage=False)

    assert hiding.feed(HELLO[:9]) == b""
    assert hiding.feed(HELLO[9:]) == HELLO
    assert showing.feed(HELLO[:9]) == HELLO[:9]


def test_stream_cut_in_the_middle_of_an_event_is_relayed_to_its_last_byte() -> None:
    observer, relayed = observe([HELLO, HELLO[:20]], hide_usage=True)

    assert relayed == HELLO + HELLO[:20]
    assert observer.token_events == 1


def test_event_too_large_to_hold_passes_and_counts_as_output() -> None:
    large = chat({"content": "x" * 500})

    observer, relayed = observe([large[:300], large[300:]], hide_usage=True, held_bytes=200)

    assert relayed == large
    assert observer.token_events == 1
    assert observer._tail == b""


def test_responses_api_counts_deltas_and_reads_usage() -> None:
    observer, relayed = observe([RESPONSES], kind="named", hide_usage=True)

    assert relayed == RESPONSES
    assert observer.token_events == 2
    assert observer.usage == Usage(prompt_tokens=9, output_tokens=2, cached_tokens=4)
    assert not observer.failed


def test_failed_response_is_seen() -> None:
    observer, _ = observe([b"event: response.failed\n" + data({"response": {}})], kind="named")

    assert observer.failed


EVENTS = st.sampled_from([
    ROLE, HELLO, EMPTY, QUOTED, FINAL, DONE, KEEP_ALIVE, b"data: not json\n\n", b"\n", b"\r\n",
    b'data: {"error":{"message":"x"}}\n\n', b"event: error\ndata: {}\n\n", RESPONSES,
    chat({"content": "y" * 300}), data({"choices": []}),
])  # fmt: skip
KINDS = st.sampled_from(["chat", "completions", "named"])


@example(events=[STREAM], places=list(range(len(STREAM))), crlf=False, kind="chat", held=1 << 20)
@example(events=[STREAM], places=list(range(len(STREAM))), crlf=True, kind="chat", held=1 << 20)
@example(events=[RESPONSES], places=list(range(900)), crlf=False, kind="named", held=100)
@given(
    events=st.lists(EVENTS, max_size=8),
    places=st.lists(st.integers(min_value=0, max_value=10_000), max_size=12),
    crlf=st.booleans(),
    kind=KINDS,
    held=st.sampled_from([1 << 20, 150, 20]),
)
@pytest.mark.parametrize("hide", [False, True])
def test_result_does_not_depend_on_where_the_bytes_were_cut(
    events: list[bytes], places: list[int], crlf: bool, kind: StreamKind, held: int, hide: bool
) -> None:
    stream = b"".join(events)
    stream = stream.replace(b"\n", b"\r\n") if crlf else stream

    whole, relayed_whole = observe([stream], kind=kind, hide_usage=hide, held_bytes=held)
    parts, relayed = observe(cut(stream, places), kind=kind, hide_usage=hide, held_bytes=held)

    assert facts(parts) == facts(whole)
    assert relayed == relayed_whole
    if not hide:
        assert relayed == stream


TEXTS = st.text(alphabet='ab\\"\n\r{}:é', max_size=70) | st.sampled_from(
    ["usage", "error", "[DONE]"]
)
TOKENS = st.builds(lambda text: chat({"content": text}), TEXTS)


@example(events=[HELLO, HELLO, chat({"content": "usage"})], kind="chat", held=1 << 20)
@example(events=[HELLO, HELLO, HELLO.replace(b"hello", b"x\\")], kind="chat", held=99)
@given(
    events=st.lists(EVENTS | TOKENS | st.builds(bytes.__add__, TOKENS, TOKENS), max_size=12),
    kind=KINDS,
    held=st.sampled_from([1 << 20, 110]),
)
@pytest.mark.parametrize("hide", [False, True])
def test_chunks_of_tokens_are_taken_for_what_would_be_fed_and_relayed(
    events: list[bytes], kind: StreamKind, held: int, hide: bool
) -> None:
    fed = StreamObserver(kind, hide_usage=hide, held_bytes=held)
    taking = StreamObserver(kind, hide_usage=hide, held_bytes=held)

    for event in events:
        if take(taking, event):
            assert fed.feed(event) == event
        else:
            assert fed.feed(event) == taking.feed(event)

    assert facts(taking) == facts(fed)
    assert taking.flush() == fed.flush()


def take(observer: StreamObserver, event: bytes) -> bool:
    framed = chunk(event)
    return observer.take_tokens(framed, len(framed) - len(event) - 2)


def test_tokens_are_taken_once_there_was_one() -> None:
    observer = StreamObserver("chat", hide_usage=True)
    observer.feed(ROLE + HELLO)
    tokens = [HELLO, EMPTY, chat({"content": 'a "word" \\'}), HELLO + EMPTY]

    taken = [take(observer, event) for event in (*tokens, FINAL, DONE)]

    assert taken == [True, True, True, True, False, False]
    assert observer.token_events == 6


@given(chunks=st.lists(st.binary(max_size=60), max_size=20), kind=KINDS)
def test_arbitrary_bytes_pass_unchanged_and_never_raise(
    chunks: list[bytes], kind: StreamKind
) -> None:
    observer, relayed = observe(chunks, kind=kind, hide_usage=True)

    assert relayed == b"".join(chunks)
    assert observer.usage == UNKNOWN_USAGE


@given(
    events=st.lists(st.sampled_from([HELLO, EMPTY, KEEP_ALIVE, QUOTED, FINAL]), max_size=8),
    places=st.lists(st.integers(min_value=0, max_value=10_000), max_size=12),
)
def test_hiding_removes_the_usage_event_and_nothing_else(
    events: list[bytes], places: list[int]
) -> None:
    _, relayed = observe(cut(b"".join(events), places), hide_usage=True)

    assert relayed == b"".join(event for event in events if event is not FINAL)
