"""The demonstration's traffic and report, on the same servers as the other real tests."""

import asyncio
import random

import pytest

from foretoken.demo_vllm import summarise
from foretoken.vllm_cpu import VllmServer
from foretoken.vllm_traffic import conversations, send

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]


def test_every_request_of_the_demonstration_is_answered_and_compared(
    proxy: str, servers: tuple[VllmServer, VllmServer]
) -> None:
    talks = conversations(60, random.Random(7))

    report = summarise(asyncio.run(send(proxy, talks)), servers)

    streamed = sum(turn.streamed for talk in talks for turn in talk.turns)
    assert (report.requests, report.errors) == (60, ())
    assert report.requests_by_endpoint.keys() <= report.models.keys()
    assert report.ttft_s.measured == streamed
    assert 0 < report.tpot_s.measured <= streamed  # a stream that came at once has no pace
    assert report.hit_ratio is not None
    assert report.hit_ratio > 0.3  # turns repeat their conversation, and most a system prompt
