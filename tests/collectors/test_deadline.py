"""Requests that run out of time, or are left: their connections must not be kept for ever."""

import asyncio
from random import Random

import httpx
import pytest

from collectors import ScrapeSettings, open_scrape_client
from collectors.deadline import within

REQUESTS = 300


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer in two pieces, so that deadlines strike in the middle of anything."""
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha")
            await asyncio.sleep(0)
            writer.write(b"lf")
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the other side has enough
    finally:
        writer.close()


async def _ask_and_leave(client: httpx.AsyncClient, url: str) -> int:
    """Ask many times in one go; give the connections that are then in use by nobody."""
    rng = Random(1)

    async def one(limit_s: float, leave_s: float) -> None:
        task = asyncio.create_task(within(limit_s, lambda: client.get(url)))
        await asyncio.sleep(leave_s)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    for _ in range(REQUESTS // 20):
        await asyncio.gather(
            *(one(rng.uniform(1e-4, 0.05), rng.uniform(0, 0.06)) for _ in range(20))
        )
    for _ in range(200):  # those that were left end by their own deadline
        if not _in_use(client):
            break
        await asyncio.sleep(0.02)
    return _in_use(client)


def _in_use(client: httpx.AsyncClient) -> int:
    pool = client._transport._pool  # type: ignore[attr-defined]  # of httpcore
    return len(pool._requests) + sum(not one.is_idle() for one in pool.connections)


def test_requests_that_ran_out_of_time_or_were_left_hold_no_connection() -> None:
    async def scenario() -> int:
        async with (
            await asyncio.start_server(_answer, "127.0.0.1", 0) as server,
            open_scrape_client(ScrapeSettings()) as client,
        ):
            port = server.sockets[0].getsockname()[1]
            return await _ask_and_leave(client, f"http://127.0.0.1:{port}/")

    assert asyncio.run(scenario()) == 0


def test_what_comes_too_late_is_a_timeout() -> None:
    with pytest.raises(TimeoutError):
        asyncio.run(within(0.0, lambda: asyncio.sleep(3600)))


def test_what_fails_fails_so_for_whoever_asked() -> None:
    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        asyncio.run(within(60.0, fail))
