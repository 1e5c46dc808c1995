import pytest

from collectors.endpoint import EndpointView, Served
from collectors.metrics_page import MetricsPage
from collectors.settings import EndpointSettings

PAGE = MetricsPage(running_requests=2.0, waiting_requests=1.0, kv_cache_usage=0.5)


@pytest.fixture
def view() -> EndpointView:
    return EndpointView(EndpointSettings(url="http://a:1", hardware="h100"), fail_after=3)


def test_endpoint_is_down_and_unknown_until_it_answers(view: EndpointView) -> None:
    state = view.state

    assert not state.up
    assert (state.running_requests, state.scraped_s, state.model) == (None, None, None)
    assert (state.endpoint, state.url, state.hardware) == ("a:1", "http://a:1", "h100")


def test_first_page_brings_it_up(view: EndpointView) -> None:
    view.scraped(PAGE, now=5.0)

    assert view.state.up
    assert (view.state.running_requests, view.state.scraped_s) == (2.0, 5.0)


def test_failures_leave_the_numbers_standing_and_the_third_brings_it_down(
    view: EndpointView,
) -> None:
    view.scraped(PAGE, now=5.0)

    view.failed()
    view.failed()
    after_two = view.state
    view.failed()

    assert after_two.up
    assert after_two.scraped_s == 5.0
    assert not view.state.up


def test_failures_that_are_not_in_a_row_do_not_add_up(view: EndpointView) -> None:
    for now in range(5):
        view.scraped(PAGE, now=float(now))
        view.failed()
        view.failed()

    assert view.state.up


def test_first_success_after_being_down_brings_it_up(view: EndpointView) -> None:
    view.scraped(PAGE, now=1.0)
    for _ in range(5):
        view.failed()

    view.scraped(PAGE, now=9.0)

    assert view.state.up


def test_healthy_without_a_page_is_up_and_forgets_old_numbers(view: EndpointView) -> None:
    view.scraped(PAGE, now=1.0)

    view.healthy()
    after_one = view.state
    view.healthy()
    view.healthy()

    assert after_one.running_requests == 2.0
    assert view.state.up
    assert (view.state.running_requests, view.state.scraped_s) == (None, None)


def test_models_are_asked_when_up_unknown_or_old(view: EndpointView) -> None:
    before = view.models_due(0.0)
    view.scraped(PAGE, now=1.0)
    unknown = view.models_due(1.0)
    view.told_models(Served(bases=["base"], others=["lora"]), again_s=31.0)

    assert not before
    assert unknown
    assert not view.models_due(30.9)
    assert view.models_due(31.0)
    assert (view.state.model, view.state.adapters) == ("base", ("lora",))


def test_models_that_were_not_told_stay_and_are_asked_again_later(view: EndpointView) -> None:
    view.scraped(PAGE, now=1.0)
    view.told_models(Served(bases=["base"]), again_s=2.0)

    view.kept_models(again_s=3.0)

    assert view.state.model == "base"
    assert not view.models_due(2.0)
    assert view.models_due(3.0)


def test_models_are_asked_again_after_it_was_down(view: EndpointView) -> None:
    view.scraped(PAGE, now=1.0)
    view.told_models(Served(bases=["base"]), again_s=100.0)
    for _ in range(3):
        view.failed()

    view.scraped(PAGE, now=2.0)

    assert view.models_due(2.0)


def test_configured_model_is_the_base_and_what_it_tells_are_further_names() -> None:
    settings = EndpointSettings(url="http://a:1", model="mine")
    view = EndpointView(settings, fail_after=3)

    view.told_models(Served(bases=["theirs"], others=["lora"]), again_s=0.0)

    assert (view.state.model, view.state.adapters) == ("mine", ("theirs", "lora"))


def test_draining_lasts_until_resumed(view: EndpointView) -> None:
    view.drain()
    view.scraped(PAGE, now=1.0)
    draining = view.state.draining
    view.resume()

    assert draining
    assert not view.state.draining


def test_what_no_page_tells_comes_from_the_settings_and_outlasts_every_answer() -> None:
    settings = EndpointSettings(
        url="http://a:1",
        max_batched_tokens=8192,
        max_seqs=64,
        cpu_kv_tokens=10,
        shared_kv_tokens=20,
    )
    view = EndpointView(settings, fail_after=1)

    seen = [view.state]
    view.scraped(PAGE, now=1.0)
    seen.append(view.state)
    view.healthy()
    view.failed()
    seen.append(view.state)

    for state in seen:
        assert (state.max_batched_tokens, state.max_seqs) == (8192, 64)
        assert (state.cpu_kv_tokens, state.shared_kv_tokens) == (10, 20)


def test_another_view_of_the_same_server_says_what_its_own_settings_say() -> None:
    before = EndpointView(EndpointSettings(url="http://a:1", max_seqs=64), fail_after=1)
    before.scraped(PAGE, now=1.0)
    view = EndpointView(EndpointSettings(url="http://a:1", cpu_kv_tokens=10), fail_after=1)

    view.take_over(before.state)

    assert (view.state.max_seqs, view.state.cpu_kv_tokens) == (None, 10)
    assert view.state.running_requests == 2.0


def test_counters_become_rates_from_the_second_page_on(view: EndpointView) -> None:
    first = MetricsPage(preemptions_total=5, prefix_hits_total=100, prefix_queries_total=1000)
    second = MetricsPage(preemptions_total=7, prefix_hits_total=300, prefix_queries_total=1500)

    view.scraped(first, now=1.0)
    before = view.state
    view.scraped(second, now=2.0)

    assert (before.preemptions_per_s, before.prefix_hit_ratio) == (None, None)
    assert view.state.preemptions_per_s == pytest.approx(2.0)
    assert view.state.prefix_hit_ratio == pytest.approx(0.4)


def test_rates_are_unknown_where_the_numbers_are(view: EndpointView) -> None:
    for total in (1, 2, 3):
        view.scraped(MetricsPage(preemptions_total=total), now=float(total))
    for _ in range(3):
        view.healthy()

    assert view.state.preemptions_per_s is None


def stepping(tokens: float, *, running: float = 1.0) -> MetricsPage:
    return MetricsPage(running_requests=running, generated_tokens_total=tokens)


def test_an_engine_that_has_requests_and_does_not_get_on_stands_still(view: EndpointView) -> None:
    for now, tokens in enumerate((10.0, 12.0, 12.0, 12.0)):
        view.scraped(stepping(tokens), now=float(now))

    assert (view.state.moved_s, view.state.still_since_s) == (1.0, 2.0)


def test_an_engine_that_gets_on_again_or_has_nothing_to_do_does_not_stand_still(
    view: EndpointView,
) -> None:
    for now, tokens in enumerate((10.0, 10.0, 11.0)):
        view.scraped(stepping(tokens), now=float(now))
    moved = view.state
    for now in (3.0, 4.0):
        view.scraped(stepping(11.0, running=0.0), now=now)

    assert (moved.moved_s, moved.still_since_s) == (2.0, None)
    assert (view.state.moved_s, view.state.still_since_s) == (2.0, None)


def test_a_page_without_the_counter_says_nothing_of_the_engine(view: EndpointView) -> None:
    for now in range(4):
        view.scraped(PAGE, now=float(now))

    assert (view.state.moved_s, view.state.still_since_s) == (None, None)


def test_what_it_serves_is_kept(view: EndpointView) -> None:
    view.scraped(PAGE, now=0.0)

    view.told_models(
        Served(bases=["base"], max_model_len=4096, root="/models/base", version="0.32.0"),
        again_s=30.0,
    )

    state = view.state
    assert (state.max_model_len, state.root, state.version) == (4096, "/models/base", "0.32.0")
