"""SGLang's page, written after its source: ranks, priorities, and what older versions say."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors import sglang_page
from collectors.metrics_page import SIGNALS, VERSIONS, MetricsPage, parse_metrics

DATA = Path(__file__).parent / "data"
PAGE = (DATA / "metrics_sglang_0.5.txt").read_bytes()
MATRIX = Path(__file__).parents[2] / "docs" / "engines.md"


def test_ranks_that_say_the_same_count_once_and_data_parallel_ones_add_up() -> None:
    page = parse_metrics(PAGE)

    assert page == MetricsPage(
        running_requests=8.0,
        waiting_requests=2.0,
        kv_cache_usage=0.375,
        preemptions_total=9.0,
        prefix_hits_total=2000.0,
        prefix_queries_total=8000.0,
        generated_tokens_total=1500.0,
        kv_capacity_tokens=800_000,
        block_size=64,
    )


def test_a_version_without_gauges_of_pages_says_their_size_in_a_label() -> None:
    page = parse_metrics(
        b'sglang:num_running_reqs{model_name="m"} 1.0\n'
        b'sglang:cache_config_info{num_pages="100",page_size="16"} 1.0\n'
        b'sglang:generation_tokens_total{model_name="m"} 7.0\n'
    )

    assert (page.block_size, page.kv_capacity_tokens) == (16, None)
    assert page.generated_tokens_total == 7.0
    assert page.kv_cache_usage is None


def test_a_page_of_vllm_is_none_of_sglang() -> None:
    page = parse_metrics(b"vllm:num_requests_running 2.0\n" + PAGE)

    assert page.running_requests == 2.0
    assert page.waiting_requests is None


def test_usage_above_one_and_nonsense_are_unknown() -> None:
    page = parse_metrics(
        b"sglang:num_running_reqs NaN\nsglang:token_usage 37.0\nsglang:page_size 0\n"
    )

    assert page == MetricsPage()


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=20),
            st.sampled_from(
                [*sglang_page.NAMES, b"{", b'dp_rank="0"', b"}", b"\n", b" 1e400", b" 3\n"]
            ),
        ),
        max_size=30,
    ).map(b"".join)
)
def test_garbage_never_raises(rest: bytes) -> None:
    page = parse_metrics(b"sglang:num_running_reqs 1\n" + rest)

    usage = page.kv_cache_usage
    assert usage is None or 0.0 <= usage <= 1.0
    assert page.running_requests is None or page.running_requests >= 0.0


def test_the_support_matrix_names_everything_that_is_read() -> None:
    matrix = MATRIX.read_text()

    names = [*sglang_page.NAMES, *(name for one in SIGNALS.values() for name in one.names)]
    missing = [name for name in names if f"`{name.decode()}`" not in matrix]
    assert not missing


@pytest.mark.parametrize(("version", "page"), [("0.8", "vllm_0.8"), ("0.32", "vllm_0.32")])
def test_a_page_on_record_has_the_names_of_its_version(version: str, page: str) -> None:
    text = (DATA / f"metrics_{page}.txt").read_bytes()

    for name, (first, last) in VERSIONS.items():
        there = b"\n" + name + b"{" in b"\n" + text
        assert there == (_number(first) <= _number(version) <= _number(last or "99"))


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
