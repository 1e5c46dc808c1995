"""The clients of a storm, a process of their own: steady load, every request written down.

``python -m benchmarks.storm.load SPEC`` sends requests in an open loop, never slower
because answers are late, to the routers in turn. What a router did not answer with a byte,
or answered by saying that it shuts down, is sent again to the next one, as clients do. On
standard input comes JSON: shares of clients that misbehave; its end ends the load, once
every request has ended.
"""

import asyncio
import json
import sys
import time
from io import RawIOBase
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from benchmarks.storm.asking import Client
from benchmarks.storm.ledger import Attempt, Entry
from benchmarks.storm.mix import Asked, Shares, requests

MOST_ATTEMPTS: Final = 5
_AGAIN_S: Final = 0.1
_AGAIN_AFTER: Final = frozenset({"shutting_down"})


class Spec(msgspec.Struct):
    """Say what load is wanted.

    Attributes:
        ports: Of the routers.
        rate: Requests a second, on average.
        seed: Of everything drawn.
        ledger: Where entries are written.
        name: Begins the ids of its requests.
    """

    ports: list[int]
    rate: float
    seed: int
    ledger: str
    name: str


class Load:
    """Send requests and write down what became of them."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._clients = [Client(port) for port in spec.ports]
        self._rng = Random(spec.seed)
        self.shares = Shares()

    async def run(self, stop: asyncio.Event, ledger: RawIOBase) -> None:
        """Send until told to stop, and wait for all that are under way."""
        loop = asyncio.get_running_loop()
        made = requests(Random(f"{self._spec.seed} requests"), self.shares)
        due_s = loop.time()
        async with asyncio.TaskGroup() as under_way:
            for number, asked in enumerate(made):
                due_s += self._rng.expovariate(self._spec.rate)
                await asyncio.sleep(max(0.0, due_s - loop.time()))
                if stop.is_set():
                    break
                under_way.create_task(self._serve(number, asked, ledger))
        for client in self._clients:
            client.close()

    async def _serve(self, number: int, asked: Asked, ledger: RawIOBase) -> None:
        attempts: list[Attempt] = []
        for turn in range(MOST_ATTEMPTS):
            router = (number + turn) % len(self._clients)
            request_id = f"{self._spec.name}-{number}-{turn}"
            at_s = time.time()
            came = await self._clients[router].ask(asked, request_id)
            attempts.append(
                Attempt(
                    request_id=request_id,
                    router=router,
                    at_s=at_s,
                    ended_s=time.time(),
                    end=came.end,
                    why=came.why,
                    status=came.status,
                    endpoint=came.endpoint,
                )
            )
            if came.end != "nothing" and came.why not in _AGAIN_AFTER:
                break
            await asyncio.sleep(_AGAIN_S * (turn + 1))
        entry = Entry(number=number, kind=asked.kind, attempts=attempts)
        ledger.write(msgspec.json.encode(entry) + b"\n")


async def _listen(load: Load, stop: asyncio.Event) -> None:
    """Take changes from standard input; its end is the load's."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        for name, share in json.loads(line).items():
            setattr(load.shares, name, share)
    stop.set()


async def _main(spec: Spec, ledger: RawIOBase) -> None:
    load = Load(spec)
    stop = asyncio.Event()
    listening = asyncio.create_task(_listen(load, stop))
    await load.run(stop, ledger)
    await listening


def main() -> None:
    """Send what the specification says."""
    spec = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Spec)
    with Path(spec.ledger).open("ab", buffering=0) as ledger:  # a line is there, or it is not
        asyncio.run(_main(spec, ledger))


if __name__ == "__main__":
    main()
