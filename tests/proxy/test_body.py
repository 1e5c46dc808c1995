"""What is read from bodies, and the one splice."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.body import Body, decode_body, kind_of, prompt_of, with_usage
from proxy.errors import BodyTooDeep

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=10,
)
FIELDS = st.sampled_from(list(Body.__struct_fields__))
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=400)


def read(body: object) -> tuple[Body, bytes]:
    payload = json.dumps(body).encode()
    decoded = decode_body(payload)
    assert decoded is not None
    return decoded, payload


def hashes(body: object) -> tuple[int, ...]:
    return prompt_of(*read(body)).block_hashes


def chat(*contents: object, **fields: object) -> dict[str, object]:
    roles = ("system", "user", "assistant")
    messages = [
        {"role": roles[min(turn, 2 - turn % 2)], "content": content}
        for turn, content in enumerate(contents)
    ]
    return {"model": "m", "messages": messages, **fields}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/chat/completions", "chat"),
        ("/v1/completions", "completions"),
        ("/v1/responses", "responses"),
        ("/v1/embeddings", "embeddings"),
        ("/v1/audio/speech", "other"),
    ],
)
def test_the_path_tells_the_kind(path: str, kind: str) -> None:
    assert kind_of(path) == kind


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
def test_the_output_bound_has_three_names(name: str) -> None:
    body, _ = read({"model": "m", name: 5})

    assert body.output_bound == 5


@pytest.mark.parametrize("bound", ["-1", "1" + "0" * 30, "1" + "0" * 400, "-1" + "0" * 400])
def test_a_bound_that_is_no_count_is_unknown(bound: str) -> None:
    body = decode_body(b'{"model":"m","max_tokens":%b}' % bound.encode())

    assert body is not None
    assert (body.model, body.output_bound) == ("m", None)


@given(field=FIELDS, value=JSON)
def test_a_field_of_any_shape_leaves_the_model_readable(field: str, value: object) -> None:
    payload = json.dumps({"model": "m", **({} if field == "model" else {field: value})}).encode()

    body = decode_body(payload)

    if body is not None:  # NaN and lone surrogates are beyond strict JSON
        assert body.model == "m"
        prompt_of(body, payload)
        with_usage(payload, body)


@given(payload=st.binary(max_size=200))
def test_no_bytes_are_too_strange_to_be_passed_on(payload: bytes) -> None:
    body = decode_body(payload)

    assert body is None or isinstance(body.model, str)


def test_the_model_of_a_multipart_form_is_read() -> None:
    payload = b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\nwhisper\r\n--x--\r\n'

    body = decode_body(payload)

    assert body is not None
    assert body.model == "whisper"


# The splice


@pytest.mark.parametrize(
    "options", [None, {}, {"include_usage": False}, {"continuous_usage_stats": False}]
)
def test_usage_is_asked_for_and_other_options_stay(options: dict[str, bool] | None) -> None:
    body, payload = read({"model": "m", "stream": True, "stream_options": options})

    spliced = with_usage(payload, body)

    assert spliced is not None
    asked = json.loads(spliced)["stream_options"]
    assert asked == {**(options or {}), "include_usage": True}


def test_all_bytes_but_the_added_key_stay_as_they_were() -> None:
    payload = b' {"model" :"m",\n"stream":true , "x": 1.0e2, "y":"}"} \n'
    body = decode_body(payload)
    assert body is not None

    spliced = with_usage(payload, body)

    added = b',"stream_options":{"include_usage":true}'
    assert spliced is not None
    assert spliced.count(added) == 1
    assert spliced.replace(added, b"") == payload
    assert json.loads(spliced)["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("options", [{"include_usage": True}, "yes", [1]])
def test_nothing_is_added_where_it_is_there_or_makes_no_sense(options: object) -> None:
    body, payload = read({"stream": True, "stream_options": options})

    assert with_usage(payload, body) is None


@pytest.mark.parametrize(
    "payload",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"model":"m","messages":' + b"[" * 2000 + b"]" * 2000 + b"}",
        b'{"model":"m","vendor":' + b'{"a":' * 2000 + b"1" + b"}" * 2000 + b"}",
        b'{"model":"m","max_tokens":"x","tools":' + b"[" * 2000,
        b'{"model":7,"tools":' + b"[" * 2000,
    ],
    ids=["arrays", "objects", "messages", "a field nobody reads", "behind a mistake", "behind two"],
)
def test_json_without_end_is_refused_wherever_it_is(payload: bytes) -> None:
    with pytest.raises(BodyTooDeep):
        decode_body(payload)


def test_what_people_nest_is_read() -> None:
    schema = b'{"a":' * 200 + b"1" + b"}" * 200

    body = decode_body(b'{"model":"m","tools":[' + schema + b"]}")

    assert body is not None
    assert body.model == "m"


@given(fields=st.dictionaries(st.text(max_size=6), JSON, max_size=5))
def test_the_spliced_body_means_the_same_plus_usage(fields: dict[str, object]) -> None:
    original = {**fields, "stream": True}
    payload = json.dumps(original, allow_nan=True).encode()
    body = decode_body(payload)
    if body is None or not body.stream:
        return

    spliced = with_usage(payload, body)

    if spliced is not None:
        got = json.loads(spliced)
        assert got.pop("stream_options")["include_usage"] is True
        original.pop("stream_options", None)
        assert json.dumps(got) == json.dumps(original)


# The prompt


def test_a_later_turn_extends_the_prefix_of_the_one_before() -> None:
    first = hashes(chat("s" * 700, "question " * 40))
    later = hashes(chat("s" * 700, "question " * 40, "answer " * 40, "and then? " * 40))

    assert len(first) >= 3
    assert later[: len(first)] == first
    assert len(later) > len(first)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(chat("a" * 600, model="n"), id="model"),
        pytest.param(chat("a" * 600, cache_salt="x"), id="cache salt"),
        pytest.param(chat("b" + "a" * 599), id="text"),
        pytest.param(chat("a" * 600, tools=[{"type": "function"}]), id="tools come first"),
    ],
)
def test_what_differs_at_the_start_shares_no_block(other: dict[str, object]) -> None:
    one = hashes(chat("a" * 600))

    assert len(one) == 2
    assert not set(one) & set(hashes(other))


def test_text_parts_count_as_their_text() -> None:
    parts = [{"type": "text", "text": "a" * 300}, {"type": "text", "text": "b" * 300}]

    assert hashes(chat(parts)) == hashes(chat("a" * 300 + "b" * 300))


def test_another_image_is_another_prefix() -> None:
    def picture(data: str) -> dict[str, object]:
        image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
        return chat([image, {"type": "text", "text": "what is this? " * 40}])

    assert hashes(picture("AAAA")) == hashes(picture("AAAA"))
    assert not set(hashes(picture("AAAA"))) & set(hashes(picture("BBBB")))


def test_token_ids_give_the_exact_count_and_a_prefix() -> None:
    one = prompt_of(*read({"model": "m", "prompt": list(range(200))}))
    longer = prompt_of(*read({"model": "m", "prompt": list(range(300))}))

    assert one.tokens == 200
    assert one.size_bytes == 800
    assert len(one.block_hashes) == 3
    assert longer.block_hashes[:3] == one.block_hashes


def test_several_token_id_prompts_count_together() -> None:
    prompt = prompt_of(*read({"model": "m", "prompt": [[1, 2, 3], [4, 5]]}))

    assert prompt.tokens == 5


@pytest.mark.parametrize("name", ["prompt", "input"])
@given(text=WORDS)
def test_a_text_weighs_its_utf8_bytes(name: str, text: str) -> None:
    prompt = prompt_of(*read({"model": "m", name: text}))

    assert prompt.size_bytes == len(text.encode())
    assert prompt.tokens is None


def test_instructions_and_items_of_the_responses_api_are_read() -> None:
    item = {"role": "user", "content": [{"type": "input_text", "text": "b" * 300}]}
    body = {"model": "m", "instructions": "a" * 300, "input": [item]}

    assert prompt_of(*read(body)).size_bytes == 300 + len("user") + 300


def test_tool_calls_are_prompt() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}

    prompt = prompt_of(*read({"model": "m", "messages": [call]}))

    assert prompt.size_bytes == len(json.dumps(call))


def test_a_prompt_nobody_knows_weighs_what_the_body_does() -> None:
    body, payload = read({"model": "m", "query": "q", "documents": ["a", "b"]})

    prompt = prompt_of(body, payload)

    assert prompt.size_bytes == len(payload)
    assert prompt.block_hashes == ()


@given(contents=st.lists(WORDS, min_size=1, max_size=5))
def test_hashes_depend_on_the_text_alone(contents: list[str]) -> None:
    body = chat(*contents)

    compact = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    decoded = decode_body(compact)

    assert decoded is not None
    assert prompt_of(decoded, compact).block_hashes == hashes(body)


def test_options_that_are_no_text_are_left_to_the_endpoint() -> None:
    payload = b'{"stream":true,"stream_options":{"\xff":1}}'

    assert with_usage(payload, decode_body(payload) or Body()) is None
