import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.usage import UNKNOWN_USAGE, Usage, read_usage


def test_whole_body_tells_counts_and_times() -> None:
    body = {
        "id": "x",
        "choices": [{"message": {"content": "hi"}}],
        "usage": {
            "prompt_tokens": 100,
            "completion_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 64},
        },
        "metrics": {
            "time_to_first_token_ms": 20.0,
            "generation_time_ms": 99.0,
            "queue_time_ms": 5.0,
            "mean_itl_ms": 10.0,
        },
    }

    usage = read_usage(json.dumps(body).encode())

    assert usage == Usage(
        prompt_tokens=100,
        cached_tokens=64,
        output_tokens=7,
        queue_s=0.005,
        prefill_s=0.02,
        itl_s=0.01,
    )
    assert usage.ttft_s == pytest.approx(0.025)


def test_embedding_usage_leaves_output_unknown() -> None:
    usage = read_usage(b'{"usage":{"prompt_tokens":5,"total_tokens":5},"data":[]}')

    assert usage == Usage(prompt_tokens=5)
    assert usage.ttft_s is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"usage":7}',
        b'{"usage":{"prompt_tokens":-1}}',
        b'{"usage":{"prompt_tokens":"9"}}',
        b'{"metrics":{"queue_time_ms":1e999}}',
        b'{"metrics":{"queue_time_ms":NaN}}',
        b'{"usage":null}',
        b"[" * 100_000,
    ],
)
def test_nonsense_is_unknown(body: bytes) -> None:
    assert read_usage(body) == UNKNOWN_USAGE


@given(st.binary())
def test_arbitrary_bytes_never_raise(body: bytes) -> None:
    assert isinstance(read_usage(body), Usage)
