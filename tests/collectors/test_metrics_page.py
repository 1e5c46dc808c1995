from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from collectors.metrics_page import CACHE_CONFIG, SIGNALS, MetricsPage, parse_metrics

DATA = Path(__file__).parent / "data"
NEW = (DATA / "metrics_vllm_0.32.txt").read_bytes()
OLD = (DATA / "metrics_vllm_0.8.txt").read_bytes()


def test_current_names_are_read_and_ranks_joined() -> None:
    page = parse_metrics(NEW)

    assert page == MetricsPage(
        running_requests=7.0,
        waiting_requests=2.0,
        kv_cache_usage=0.375,
        preemptions_total=11.0,
        prefix_hits_total=200.0,
        prefix_queries_total=2176.0,
        kv_capacity_tokens=131072,
        block_size=32,
    )


def test_old_names_are_read() -> None:
    page = parse_metrics(OLD)

    assert page == MetricsPage(
        running_requests=5.0,
        waiting_requests=1.0,
        kv_cache_usage=0.75,
        preemptions_total=2.0,
        prefix_hits_total=100.0,
        prefix_queries_total=400.0,
        kv_capacity_tokens=16000,
        block_size=16,
    )


def test_windows_line_ends_and_a_missing_last_newline_change_nothing() -> None:
    assert parse_metrics(NEW.replace(b"\n", b"\r\n")) == parse_metrics(NEW)
    assert parse_metrics(NEW.rstrip()) == parse_metrics(NEW)


@pytest.mark.parametrize(
    "path", sorted(DATA.glob("metrics_vllm_*.txt")), ids=lambda path: path.name
)
def test_pages_on_record_say_what_a_full_parser_finds(path: Path) -> None:
    text = path.read_text()
    samples: dict[str, list[Sample]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append(sample)

    page = parse_metrics(text.encode())

    for field, signal in SIGNALS.items():
        named = (samples.get(name.decode(), []) for name in signal.names)
        values = [sample.value for sample in next(filter(None, named), [])]
        assert getattr(page, field) == (signal.join(values) if values else None)
    labels = [sample.labels for sample in samples[CACHE_CONFIG.decode()]]
    assert page.block_size == int(labels[0]["block_size"])
    assert page.kv_capacity_tokens == sum(
        int(each.get("kv_cache_size_tokens") or int(each["num_gpu_blocks"]) * page.block_size)
        for each in labels
    )


@pytest.mark.parametrize("page", [b"", b"\n", b"<html>not metrics</html>"])
def test_what_is_missing_is_unknown(page: bytes) -> None:
    assert parse_metrics(page) == MetricsPage()


def test_help_alone_is_not_a_value() -> None:
    page = parse_metrics(
        b"# HELP vllm:num_requests_running 7\n# TYPE vllm:num_requests_running 8\n"
    )

    assert page.running_requests is None


@pytest.mark.parametrize("value", [b"NaN", b"+Inf", b"-Inf", b"-1", b"", b"three", b"0x10", b"{}"])
def test_nonsense_values_are_unknown(value: bytes) -> None:
    page = parse_metrics(b'vllm:num_requests_running{engine="0"} ' + value + b"\n")

    assert page.running_requests is None


def test_nonsense_of_one_rank_leaves_the_others() -> None:
    page = parse_metrics(
        b'vllm:num_requests_running{engine="0"} NaN\n'
        b"vllm:num_requests_running{\n"
        b'vllm:num_requests_running{engine="2"} 4\n'
    )

    assert page.running_requests == 4.0


def test_usage_above_one_is_nonsense() -> None:
    assert parse_metrics(b"vllm:kv_cache_usage_perc 37.5\n").kv_cache_usage is None


def test_samples_without_labels_and_with_timestamps_are_read() -> None:
    page = parse_metrics(b"vllm:num_requests_running 3 1795220696\nvllm:num_requests_waiting 2\n")

    assert (page.running_requests, page.waiting_requests) == (3.0, 2.0)


def test_zero_is_known() -> None:
    assert parse_metrics(b"vllm:num_requests_waiting 0.0\n").waiting_requests == 0.0


def test_capacity_that_is_not_told_is_unknown() -> None:
    page = parse_metrics(
        b'vllm:cache_config_info{block_size="16",kv_cache_size_tokens="None",'
        b'num_gpu_blocks="None"} 1.0\n'
    )

    assert page.kv_capacity_tokens is None
    assert page.block_size == 16


def test_every_signal_is_a_field() -> None:
    assert set(SIGNALS) < set(MetricsPage.__dataclass_fields__)


NAMES = [name for signal in SIGNALS.values() for name in signal.names]
FRAGMENTS = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([*NAMES, b"vllm:cache_config_info", b"{", b"}", b'"', b"\n", b" ", b"1e400"]),
    st.sampled_from([b'{engine="0"} 1.0\n', b'{block_size="', b'num_gpu_blocks="9"', b"-", b"\r"]),
)


@given(st.lists(FRAGMENTS, max_size=30).map(b"".join))
def test_garbage_never_raises_and_never_gives_a_nonsense_number(page: bytes) -> None:
    parsed = parse_metrics(page)

    for field in SIGNALS:
        value = getattr(parsed, field)
        assert value is None or value >= 0.0
    assert parsed.kv_cache_usage is None or parsed.kv_cache_usage <= 1.0


@given(at=st.integers(min_value=0, max_value=len(NEW)), junk=st.binary(max_size=30))
def test_damaged_pages_never_raise(at: int, junk: bytes) -> None:
    parsed = parse_metrics(NEW[:at] + junk + NEW[at + len(junk) :])

    assert isinstance(parsed, MetricsPage)


LORA_PAGE = b"""# TYPE vllm:lora_requests_info gauge
vllm:lora_requests_info{max_lora="4",running_lora_adapters="a",waiting_lora_adapters=""} 1.7e+09
vllm:lora_requests_info{max_lora="4",running_lora_adapters="c,b",waiting_lora_adapters="d"} 1.8e+09
vllm:lora_requests_info{max_lora="4",running_lora_adapters="",waiting_lora_adapters=""} 1.75e+09
vllm:num_requests_running 3.0
"""


def test_the_adapters_of_the_latest_sample_are_the_present_ones() -> None:
    page = parse_metrics(LORA_PAGE)

    assert page.active_adapters == ("b", "c", "d")
    assert page.max_adapters == 4


@pytest.mark.parametrize(
    "line",
    [
        b"vllm:lora_requests_info 1.0",
        b'vllm:lora_requests_info{max_lora="x",running_lora_adapters="a"} 1.0',
        b'vllm:lora_requests_info{max_lora="-1"} NaN',
    ],
)
def test_adapters_that_cannot_be_read_are_unknown(line: bytes) -> None:
    page = parse_metrics(line + b"\n")

    assert (page.active_adapters, page.max_adapters) == ((), None)
