"""Output lengths: shrinkage from default to fleet to tenant to session, and bounded memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor import OutputLengths
from predictor.settings import OutputLengthSettings


def test_a_tenant_unseen_gets_the_fleets_length() -> None:
    lengths = OutputLengths()

    for _ in range(500):
        lengths.learn("chatty", 800)

    assert lengths.expected("new", None) == pytest.approx(800, rel=0.02)


def test_tenants_differ_once_seen() -> None:
    lengths = OutputLengths()

    for _ in range(300):
        lengths.learn("long", 1000)
        lengths.learn("short", 10)

    assert lengths.expected("long", None) > 900
    assert lengths.expected("short", None) < 60


def test_a_session_is_learned_within_a_dozen_answers() -> None:
    lengths = OutputLengths()
    for _ in range(500):
        lengths.learn("acme", 100)

    for _ in range(12):
        lengths.learn("acme", 1000, session="essay")

    assert lengths.expected("acme", None, session="essay") > 600
    assert lengths.expected("acme", 300, session="essay") < 300
    assert lengths.expected("acme", None, session="new") == lengths.expected("acme", None)


def test_sessions_of_one_name_are_not_one_across_tenants() -> None:
    lengths = OutputLengths()

    for _ in range(50):
        lengths.learn("acme", 1000, session="1")
        lengths.learn("other", 10, session="1")

    assert lengths.expected("acme", None, session="1") > 800
    assert lengths.expected("other", None, session="1") < 50
    assert lengths.expected(None, None, session="1") == lengths.expected(None, None)


def test_what_a_session_did_long_ago_fades() -> None:
    lengths = OutputLengths()

    for tokens in [1000] * 100 + [20] * 100:
        lengths.learn(None, tokens, session="s")

    assert lengths.expected(None, None, session="s") < 250


def test_the_session_longest_silent_is_forgotten() -> None:
    lengths = OutputLengths(OutputLengthSettings(max_sessions=2))
    for session in ("a", "b", "a", "c"):
        for _ in range(50):
            lengths.learn(None, 1000 if session == "b" else 10, session=session)

    assert lengths.expected(None, None, session="b") == lengths.expected(None, None)
    assert lengths.expected(None, None, session="a") < lengths.expected(None, None)


def test_a_bound_cuts_the_distribution_not_the_mean() -> None:
    lengths = OutputLengths()
    for _ in range(1000):
        lengths.learn(None, 10)
        lengths.learn(None, 1000)

    assert lengths.expected(None, 100) == pytest.approx(55, rel=0.05)


def test_old_lengths_fade() -> None:
    lengths = OutputLengths(OutputLengthSettings(half_life_rows=20))

    for tokens in [1000] * 200 + [50] * 200:
        lengths.learn(None, tokens)

    assert lengths.expected(None, None) < 120


def test_the_tenant_longest_silent_is_forgotten() -> None:
    lengths = OutputLengths(OutputLengthSettings(max_keys=2))
    for tenant in ("a", "b", "a", "c"):
        for _ in range(200):
            lengths.learn(tenant, 1000 if tenant == "b" else 10)

    assert lengths.expected("b", None) == lengths.expected(None, None)
    assert lengths.expected("a", None) < lengths.expected(None, None)


def test_one_absurd_length_does_not_ruin_what_is_expected() -> None:
    lengths = OutputLengths()
    for _ in range(500):
        lengths.learn(None, 100)

    lengths.learn(None, 1 << 53)

    assert lengths.expected(None, None) < 5000


def test_any_bound_a_client_may_write_is_taken() -> None:
    assert OutputLengths().expected(None, 10**400) == OutputLengths().expected(None, None)


@given(
    st.lists(st.integers(-5, 2_000_000)),
    st.none() | st.integers(-3, 10_000_000),
    st.none() | st.just("s"),
)
def test_what_is_expected_is_positive_and_within_the_bound(
    seen: list[int], bound: int | None, session: str | None
) -> None:
    lengths = OutputLengths()
    for tokens in seen:
        lengths.learn("a", tokens, session=session)

    expected = lengths.expected("a", bound, session=session)

    assert expected > 0
    assert bound is None or expected <= max(bound, 1) + 1e-6
