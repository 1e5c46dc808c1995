"""Every route of the control plane, asked wrongly: one form of refusal, and never a 500."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from proxy.control import ControlSettings, PredictorApiSettings, build_control, build_predictor_app
from tests.proxy.control.fakes import FakePlane, record
from tests.proxy.control.predictor_fakes import FakePredictors

SETTINGS = ControlSettings(predictor=PredictorApiSettings(max_body_bytes=4096))
JSON = {"content-type": "application/json"}
PARTS = {
    "endpoint": "nope:1",
    "action": "drain",
    "request_id": "nope",
    "model_name": "nope",
    "what": "info",
}

GARBAGE = [
    b"{",
    b"null",
    b"[]",
    b"[[1]]",
    b'"text"',
    b"17",
    b"NaN",
    b"\xff\xfe\x00",
    b'{"mode": "\\ud800"}',
    b'{"url": "http://\\ud800:1"}',
    b'{"\\ud800": 1}',
    b'{"mode": "heuristic", "\\ud800": NaN}',
    b'{"url": "http://h:1", "\\ud800": 1}',
    b'{"model": "\\ud800", "prompt_tokens": 7}',
    b'{"\\ud800": NaN, "x": Infinity}',
    b'{"model": "m", "prompt_tokens": 1e999}',
    b'{"model": "m", "prompt_tokens": -1}',
    b'{"model": "m", "prompt_tokens": ' + b"9" * 3000 + b"}",
    b"9" * 4000,
    b"[" * 2000,
    b'{"a":' * 600,
    b'{"model": {"x": [1, 2]}, "endpoints": {"a": 1}, "rows": "x", "observations": 3}',
    b'{"model": 3, "endpoints": [null], "observations": [null]}',
    b'{"endpoints": [' + b"{}," * 100 + b"{}]}",
    b'{"requests": [' + b"{}," * 100 + b'{}], "entries": [7]}',
]


@dataclass(frozen=True)
class Asked:
    """One route: whose, how to call it, and in which form it refuses."""

    app: str
    method: str
    path: str
    llmd: bool

    def __str__(self) -> str:
        return f"{self.method} {self.path} of {self.app}"


@cache
def build(name: str) -> FastAPI:
    """Build an application once: a refusal changes nothing."""
    predictors = FakePredictors()
    if name == "predictor":
        return build_predictor_app(predictors, SETTINGS, nullcontext)
    plane = FakePlane()
    plane.history.add(record())
    return build_control(plane, closing=plane.closing, settings=SETTINGS, predictors=predictors)


def routes() -> Iterator[Asked]:
    for name in ("control", "predictor"):
        for path, methods in build(name).openapi()["paths"].items():
            ours = name == "control" and not path.startswith("/foretoken/predictor/")
            for method in methods:
                asked = path.format(**PARTS)
                yield Asked(name, method.upper(), asked, llmd=not ours and "/v1/" not in path)


ROUTES = list(routes())
CHANGING = [one for one in ROUTES if one.method in {"POST", "PUT", "PATCH"}]


def ask(asked: Asked, calls: list[dict[str, Any]]) -> list[httpx.Response]:
    """Call one application several times."""
    transport = httpx.ASGITransport(build(asked.app), raise_app_exceptions=False)

    async def scenario() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            return [
                await http.request(**({"method": asked.method, "url": asked.path} | call))
                for call in calls
            ]

    return asyncio.run(scenario())


def refused_well(answer: httpx.Response, *, llmd: bool = False) -> bool:
    """Say whether an answer is a refusal of the client's mistake, in the one form."""
    if not 400 <= answer.status_code < 500:
        return False
    body = answer.json()
    if llmd and set(body) == {"detail"}:  # llm-d's callers know this one
        return True
    error = body.get("error", {})
    return (
        set(body) == {"error"}
        and set(error) == {"message", "type", "param", "code"}
        and bool(error["message"])
        and bool(error["code"])
    )


def test_there_is_something_to_ask() -> None:
    assert len(ROUTES) > 25
    assert len(CHANGING) > 10


@pytest.mark.parametrize("asked", CHANGING, ids=str)
def test_no_body_makes_a_fault(asked: Asked) -> None:
    answers = ask(asked, [{"content": body, "headers": JSON} for body in GARBAGE])

    for body, answer in zip(GARBAGE, answers, strict=True):
        if answer.status_code >= 300:  # some take no body, or any
            assert refused_well(answer, llmd=asked.llmd), (
                body[:60],
                answer.status_code,
                answer.text,
            )


@pytest.mark.parametrize("asked", CHANGING, ids=str)
def test_a_body_beyond_all_bounds_is_413(asked: Asked) -> None:
    big = json.dumps({"model": "m" * 10_000}).encode()

    whole, chunked = ask(
        asked,
        [
            {"content": big, "headers": JSON},
            {"content": pieces(big), "headers": JSON},
        ],
    )

    assert whole.status_code == 413
    assert whole.json()["error"]["code"] == "body_too_large"
    assert refused_well(whole)
    if chunked.status_code >= 300 and chunked.status_code != 404:
        assert chunked.status_code == 413
        assert refused_well(chunked), chunked.text


@pytest.mark.parametrize("asked", CHANGING, ids=str)
def test_a_body_of_another_type_is_refused_or_not_read(asked: Asked) -> None:
    answers = ask(
        asked,
        [
            {"data": {"mode": "heuristic"}},
            {"content": b"<x/>", "headers": {"content-type": "application/xml"}},
            {"content": b"\x1f\x8b junk", "headers": {**JSON, "content-encoding": "gzip"}},
        ],
    )

    for answer in answers:
        if answer.status_code >= 300:
            assert refused_well(answer, llmd=asked.llmd), (answer.status_code, answer.text)


@pytest.mark.parametrize("asked", ROUTES, ids=str)
def test_another_method_is_405_in_the_one_form(asked: Asked) -> None:
    allowed = {one.method for one in ROUTES if (one.app, one.path) == (asked.app, asked.path)}
    wrong = sorted({"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"} - allowed)

    answers = ask(asked, [{"method": method} for method in wrong])

    for method, answer in zip(wrong, answers, strict=True):
        assert answer.status_code == 405, (method, answer.text)
        assert refused_well(answer)
        assert answer.json()["error"]["code"] == "method_not_allowed"
        assert set(answer.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/foretoken/decisions?limit=0"),
        ("GET", "/foretoken/decisions?limit=many"),
        ("GET", "/foretoken/decisions?limit=" + "9" * 6000),
        ("GET", "/foretoken/decisions/nope"),
        ("GET", "/foretoken/decisions/%00%ff/../x"),
        ("GET", "/foretoken/decisions/%ED%A0%80"),
        ("GET", "/foretoken/decisions/" + "x" * 4000),
        ("GET", "/foretoken/nothing"),
        ("GET", "/foretokens"),
        ("DELETE", "/foretoken/endpoints/%00"),
        ("POST", "/foretoken/endpoints/10.0.0.1:8000/dance"),
        ("POST", "/foretoken/endpoints/%ED%A0%80/drain"),
        ("GET", "/foretoken/../etc/passwd"),
    ],
)
def test_bad_paths_and_queries_are_refused_in_the_one_form(method: str, path: str) -> None:
    (answer,) = ask(Asked("control", method, path, llmd=False), [{}])

    assert answer.status_code in {404, 422}
    assert refused_well(answer)


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    """Send a body without telling its length."""
    for start in range(0, len(data), 1000):
        yield data[start : start + 1000]
