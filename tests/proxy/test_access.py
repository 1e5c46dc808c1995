"""API keys: where they come from, who they let in, and that nothing tells them."""

from pathlib import Path

import pytest

from proxy.access import Access, Caller, KeyRing, digest, presented_key, read_keys
from proxy.errors import KeysUnusable, NotAuthenticated, to_response

KEY = "sk-very-secret-0123"


def keys_file(folder: Path, text: str) -> Path:
    path = folder / "keys.toml"
    path.write_text(text)
    return path


def bearer(key: str) -> dict[bytes, bytes]:
    return {b"authorization": b"Bearer " + key.encode()}


def test_without_keys_everyone_is_let_in_as_nobody() -> None:
    access = Access()

    assert access.open
    assert access.caller_of({}) is None
    assert access.caller_of(bearer("whatever")) is None
    assert not access.is_admin(bearer("whatever"))


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        (bearer(KEY), "team-a"),
        ({b"authorization": b"bearer   " + KEY.encode()}, "team-a"),
        ({b"x-api-key": KEY.encode()}, "team-a"),
        ({b"authorization": b"Basic abc", b"x-api-key": b"sk-other-456789"}, "team-b"),
    ],
)
def test_a_key_comes_by_either_header(headers: dict[bytes, bytes], name: str) -> None:
    access = Access(read_keys(None, f"team-a={KEY}, team-b=sk-other-456789"))

    caller = access.caller_of(headers)

    assert caller is not None
    assert caller.name == name


@pytest.mark.parametrize(
    "headers",
    [{}, bearer(KEY + "4"), bearer(KEY[:-1]), bearer(""), {b"x-api-key": b""}, bearer("\xff")],
)
def test_whoever_has_no_known_key_is_refused_in_openais_form(headers: dict[bytes, bytes]) -> None:
    access = Access(read_keys(None, f"team-a={KEY}"))

    with pytest.raises(NotAuthenticated) as caught:
        access.caller_of(headers)

    answer = to_response(caught.value)
    assert (answer.status, answer.code) == (401, "invalid_api_key")
    assert (b"www-authenticate", b"Bearer") in answer.headers
    assert KEY.encode() not in answer.body


def test_a_file_gives_names_limits_and_hashes_instead_of_keys(tmp_path: Path) -> None:
    path = keys_file(
        tmp_path,
        f"""
        [team-a]
        key = "{KEY}"
        requests_per_minute = 60
        tokens_per_minute = 1000
        [operator]
        sha256 = "{digest(b"sk-operator").hex()}"
        admin = true
        """,
    )

    access = Access(read_keys(path, None))

    assert access.caller_of(bearer(KEY)) == Caller(
        name="team-a", requests_per_minute=60, tokens_per_minute=1000
    )
    assert [access.is_admin(bearer(key)) for key in ("sk-operator", KEY, "x")] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "names no key"),
        ("[a", "is not valid TOML"),
        (f'[a]\nkey = "{KEY}" "{KEY}"', "is not valid TOML"),
        ("[a]\nadmin = true", "needs either key or sha256"),
        (f'[a]\nkey = "{KEY}"\nsha256 = "{"0" * 64}"', "needs either key or sha256"),
        ('[a]\nkey = "short"', "a.key"),
        ('[a]\nsha256 = "abc"', "a.sha256"),
        (f'[a]\nkye = "{KEY}"', "a.kye"),
        (f'["a b"]\nkey = "{KEY}"', "a b"),
        (f'[a]\nkey = "{KEY}"\nrequests_per_minute = 0', "requests_per_minute"),
        (f'[a]\nkey = "{KEY}"\n[b]\nkey = "{KEY}"', "b has the key of a"),
        (f'key = "{KEY}"', "key"),
    ],
)
def test_keys_that_cannot_be_used_are_refused_without_telling_them(
    tmp_path: Path, text: str, problem: str
) -> None:
    path = keys_file(tmp_path, text)

    with pytest.raises(KeysUnusable) as caught:
        read_keys(path, None)

    assert problem in str(caught.value)
    assert str(path) in str(caught.value)
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeysUnusable, match="No such file"):
        read_keys(tmp_path / "none.toml", None)


@pytest.mark.parametrize(
    "text", [KEY, f"={KEY}", "a=short", f"a={KEY},b={KEY}", f"a={KEY},a=x{KEY}"]
)
def test_an_environment_that_cannot_be_used_is_refused_without_telling_it(text: str) -> None:
    with pytest.raises(KeysUnusable) as caught:
        read_keys(None, text)

    assert KEY not in str(caught.value)


def test_no_key_stands_in_what_is_kept() -> None:
    ring = read_keys(None, f"team-a={KEY}")

    assert KEY not in repr(vars(ring))
    assert KEY.encode() not in repr(vars(ring)).encode()


def test_a_ring_of_callers_may_be_replaced_while_serving() -> None:
    access = Access(KeyRing({digest(b"old-key-1"): Caller(name="a")}))

    access.ring = KeyRing({digest(b"new-key-1"): Caller(name="a")})

    assert access.caller_of(bearer("new-key-1")) == Caller(name="a")
    with pytest.raises(NotAuthenticated):
        access.caller_of(bearer("old-key-1"))


def test_other_schemes_of_authorization_are_no_key() -> None:
    assert presented_key({b"authorization": b"Basic c2VjcmV0"}) is None
