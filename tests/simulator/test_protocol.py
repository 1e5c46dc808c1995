import json
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.errors import RequestRefused
from simulator.protocol import ChatBody, CompletionBody, plan, read
from simulator.settings import EndpointSettings

LIMIT = 4096
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
FIELDS = ("messages", "prompt", "max_tokens", "stream", "stream_options", "n", "model", "priority")


def _completion(prompt: str = "Once upon a time", **fields: object) -> CompletionBody:
    return read(json.dumps({"prompt": prompt, **fields}).encode(), CompletionBody)


def _length(body: ChatBody | CompletionBody, **headers: str) -> tuple[int, str]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    job = plan(body, named, EndpointSettings(), LIMIT)
    return job.output_tokens, job.finish_reason


def test_the_header_sets_the_true_length() -> None:
    body = _completion(max_tokens=100)

    assert _length(body, x_sim_output_tokens="40") == (40, "stop")
    assert _length(body, x_sim_output_tokens="400") == (100, "length")


def test_ignoring_the_end_goes_on_to_the_bound() -> None:
    assert _length(_completion(max_tokens=100, ignore_eos=True)) == (100, "length")


def test_a_text_completion_without_bound_gets_sixteen_tokens() -> None:
    assert _length(_completion(ignore_eos=True)) == (16, "length")


def test_a_chat_without_bound_may_fill_the_context() -> None:
    body = read(b'{"messages": [{"role": "user", "content": "Hi"}], "ignore_eos": true}', ChatBody)

    job = plan(body, {}, EndpointSettings(), LIMIT)

    assert job.prompt_tokens + job.output_tokens == LIMIT


def test_the_newer_name_of_the_bound_wins() -> None:
    body = read(
        b'{"messages": [{"role": "user", "content": "Hi"}], "ignore_eos": true,'
        b' "max_tokens": 9, "max_completion_tokens": 7}',
        ChatBody,
    )

    assert _length(body) == (7, "length")


def test_drawn_lengths_depend_on_prompt_and_seed_only() -> None:
    bodies = [_completion(f"question {number}", max_tokens=4000) for number in range(300)]

    first, again = ([_length(body)[0] for body in bodies] for _ in range(2))
    other = [plan(body, {}, EndpointSettings(seed=1), LIMIT).output_tokens for body in bodies]

    assert first == again != other
    assert statistics.median(first) == pytest.approx(150, rel=0.2)


def test_content_parts_count_as_their_text() -> None:
    plain = read(b'{"messages": [{"role": "user", "content": "Hi you"}]}', ChatBody)
    parts = read(
        b'{"messages": [{"role": "user", "content":'
        b' [{"type": "text", "text": "Hi "}, {"type": "text", "text": "you"}]}]}',
        ChatBody,
    )

    assert plain.prompt_tokens() == parts.prompt_tokens()


def test_the_header_overrides_the_priority() -> None:
    body = _completion(priority=3)

    priorities = [
        plan(body, headers, EndpointSettings(), LIMIT).priority
        for headers in ({}, {"x-vllm-priority": "-2"})
    ]

    assert priorities == [3, -2]


@pytest.mark.parametrize(
    ("fields", "headers", "param"),
    [
        ({"max_tokens": 0}, {}, "max_tokens"),
        ({"max_tokens": LIMIT}, {}, "max_tokens"),
        ({"prompt": "word" * LIMIT}, {}, "input_tokens"),
        ({"prompt": ""}, {}, "prompt"),
        ({"n": 2}, {}, "n"),
        ({}, {"x-sim-output-tokens": "many"}, "x-sim-output-tokens"),
        ({}, {"x-sim-output-tokens": "0"}, "x-sim-output-tokens"),
    ],
)
def test_what_cannot_run_is_refused_by_name(
    fields: dict[str, object], headers: dict[str, str], param: str
) -> None:
    body = read(json.dumps({"prompt": "Once", **fields}).encode(), CompletionBody)

    with pytest.raises(RequestRefused) as caught:
        plan(body, headers, EndpointSettings(), LIMIT)

    assert (caught.value.status, caught.value.param) == (400, param)


@given(
    body=st.binary(max_size=200)
    | st.dictionaries(st.sampled_from(FIELDS), JSON_VALUES).map(
        lambda value: json.dumps(value).encode()
    )
)
@pytest.mark.parametrize("kind", [ChatBody, CompletionBody])
def test_any_bytes_are_planned_or_refused(
    kind: type[ChatBody | CompletionBody], body: bytes
) -> None:
    try:
        job = plan(read(body, kind), {}, EndpointSettings(), LIMIT)
    except RequestRefused:
        return  # the one error that is allowed

    assert 1 <= job.output_tokens <= LIMIT - job.prompt_tokens
