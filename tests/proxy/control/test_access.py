"""Who may look at the control plane and change what is behind it."""

import asyncio
from typing import Any

import httpx
import pytest

from proxy.access import Access, read_keys
from proxy.control import ControlSettings, build_control
from tests.proxy.control.fakes import FakePlane

ADMIN, TEAM = "sk-admin-0123456789", "sk-team-0123456789"
HERE, ELSEWHERE = "127.0.0.1", "10.1.2.3"


def access(tmp_path: Any) -> Access:
    path = tmp_path / "keys.toml"
    path.write_text(f'[admin]\nkey = "{ADMIN}"\nadmin = true\n[team]\nkey = "{TEAM}"\n')
    return Access(read_keys(path, None))


def call(
    method: str,
    path: str,
    *,
    client: str,
    keys: Access | None = None,
    beyond: bool = True,
    settings: ControlSettings | None = None,
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    async def run() -> httpx.Response:
        app = build_control(
            FakePlane(),
            closing=asyncio.Event(),
            settings=settings,
            access=keys,
            listens_beyond=beyond,
        )
        transport = httpx.ASGITransport(app, client=(client, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://router") as asking:
            json = {"mode": "heuristic"} if method == "PUT" else None
            return await asking.request(method, path, headers=headers, json=json)

    return asyncio.run(run())


LOOK, CHANGE = ("GET", "/foretoken/mode"), ("PUT", "/foretoken/mode")


def test_beyond_loopback_it_is_for_this_machine_and_for_admins(tmp_path: Any) -> None:
    keys = access(tmp_path)
    admin, team = ({"authorization": f"Bearer {key}"} for key in (ADMIN, TEAM))

    answers = [
        call(*what, client=client, keys=keys, headers=headers).status_code
        for what in (LOOK, CHANGE)
        for client, headers in (
            (HERE, None),
            (ELSEWHERE, admin),
            (ELSEWHERE, {"x-api-key": ADMIN}),
            (ELSEWHERE, team),
            (ELSEWHERE, None),
            (HERE, {"x-forwarded-for": ELSEWHERE}),
        )
    ]

    assert answers == [200, 200, 200, 401, 401, 401] * 2


def test_a_router_on_loopback_shows_itself_and_is_changed_from_here_or_by_admins(
    tmp_path: Any,
) -> None:
    keys = access(tmp_path)
    forwarded = {"x-forwarded-for": ELSEWHERE}

    looked = call(*LOOK, client=HERE, keys=keys, beyond=False, headers=forwarded)
    changed = call(*CHANGE, client=HERE, keys=keys, beyond=False, headers=forwarded)
    by_admin = call(
        *CHANGE, client=HERE, keys=keys, beyond=False, headers={**forwarded, "x-api-key": ADMIN}
    )

    assert [each.status_code for each in (looked, changed, by_admin)] == [200, 403, 200]


@pytest.mark.parametrize(
    ("settings", "statuses"),
    [
        (ControlSettings(), [401, 401]),
        (ControlSettings(allow_remote_reads=True), [200, 403]),
        (ControlSettings(allow_remote_changes=True), [200, 200]),
    ],
)
def test_without_keys_the_settings_say_what_others_may(
    settings: ControlSettings, statuses: list[int]
) -> None:
    answers = [call(*what, client=ELSEWHERE, settings=settings) for what in (LOOK, CHANGE)]

    assert [answer.status_code for answer in answers] == statuses


def test_the_refusal_has_the_one_form() -> None:
    refused = call(*LOOK, client=ELSEWHERE)

    error = refused.json()["error"]
    assert (error["code"], refused.headers["www-authenticate"]) == ("admin_key_required", "Bearer")
    assert "admin" in error["message"]


def test_a_page_of_another_site_changes_nothing_even_from_here(tmp_path: Any) -> None:
    keys = access(tmp_path)

    page = call(*CHANGE, client=HERE, keys=keys, headers={"origin": "https://elsewhere"})

    assert page.status_code == 403
