"""Where a storm takes place: endpoints, routers and clients, all on loopback.

Endpoints of several classes, some of which tell what their caches hold; routers that trace,
train and reload; clients in a process of their own. Called by the storm and its faults.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
import msgspec

from benchmarks.storm.clock import Clock, built
from benchmarks.storm.disk import Disk, disk_at
from benchmarks.storm.errors import NotThere
from benchmarks.storm.load import Spec
from benchmarks.storm.meeting import Meeting, meeting_at
from benchmarks.storm.mix import MODEL
from benchmarks.storm.servers import Server
from foretoken.processes import ALL_UP, free_ports

PROFILES: Final = (
    f"h100_sxm/{MODEL}",
    f"a100_sxm/{MODEL}",
    f"a100_sxm/{MODEL}",
    f"l40s/{MODEL}",
)
# Of these the KV events are followed.
EXACT: Final = 2
# What we ask routers must not show in the descriptors they hold.
_NOTHING_KEPT: Final = httpx.Limits(max_keepalive_connections=0)
_LAST_ANSWER_S: Final = 150.0
# Of a cache: some dozens of conversations, so that blocks are evicted all the time.
KV_TOKENS: Final = 60_000
# Half as fast as measured: times that a busy machine's own delays do not hide.
SPEED: Final = 0.5

# What a router remembers is bounded, and full only after an hour at such a rate: small bounds
# are reached before the storm begins, and whatever still grows then would grow for ever.
_CONFIG: Final = """\
data_dir = "{folder}"
workers = {workers}
[proxy]
port = {port}
shutdown_s = 10
[scrape]
models_interval_s = 2.0
[tokens]
cache_tokens = 100_000
[control]
history_requests = 200
history_s = 30
[predictor.training]
window_rows = 1000
[trainer]
cpu_share = 0.1
[traces]
flush_interval_s = 0.5
file_age_s = 5.0
[log]
format = "json"
[scheduler.tiers.interactive]
ttft_s = 1.0
tpot_s = 0.1
priority = 10
[scheduler.tiers.standard]
ttft_s = 3.0
[scheduler.tiers.batch]
priority = -10
"""


@dataclass(slots=True, kw_only=True)
class Endpoint:
    """Hold one simulated endpoint."""

    name: str
    port: int
    server: Server
    exact: bool
    block: str  # of the configuration

    @property
    def url(self) -> str:
        """Give where it listens."""
        return f"http://127.0.0.1:{self.port}"


@dataclass(slots=True, kw_only=True)
class Router:
    """Hold one router and what surrounds it.

    Attributes:
        index: As the ledger names it.
        config: Its file.
        disk: Where its traces go.
        clock: Its wall clock, ``None`` where none can be stepped.
    """

    index: int
    port: int
    folder: Path
    config: Path
    server: Server
    disk: Disk
    clock: Clock | None

    @property
    def url(self) -> str:
        """Give where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def wait_ready(self) -> None:
        """Wait until it serves and every endpoint is up."""
        await self.server.answers(f"{self.url}/ready", ALL_UP)


@dataclass(slots=True, kw_only=True)
class Place:
    """Hold all of it.

    Attributes:
        troubled: Names of endpoints that a fault has in hand.
        dropped_rows: By router, of the trace, of processes that have ended.
        meeting: Where routers meet, ``None`` where they do not.
    """

    folder: Path
    endpoints: list[Endpoint]
    routers: list[Router]
    load: Server
    ledger: Path
    rate: float
    seed: int
    workers: int
    meeting: Meeting | None
    client: httpx.AsyncClient
    troubled: set[str] = field(default_factory=set)
    dropped_rows: dict[int, float] = field(default_factory=dict)

    @property
    def live_routers(self) -> list[Router]:
        """Give the routers that run."""
        return [router for router in self.routers if router.server.running]

    def store_of(self, router: Router) -> Path:
        """Give the folder of the model versions that a router watches."""
        return router.folder / "models" if self.meeting is None else self.meeting.store

    async def load_begins(self, name: str) -> None:
        """Start the clients; ids of their requests begin with a name."""
        spec = Spec(
            ports=[router.port for router in self.routers],
            rate=self.rate,
            seed=self.seed,
            ledger=str(self.ledger),
            name=name,
        )
        (self.folder / "load.json").write_bytes(msgspec.json.encode(spec))
        await self.load.start()

    async def load_ends(self) -> None:
        """Let the clients stop, and wait until each has what it asked for, or has not.

        Raises:
            NotThere: They do not end, or failed.
        """
        self.load.hush()
        if await self.load.wait(_LAST_ANSWER_S):
            raise NotThere(f"the load failed: {self.load.log.read_text()[-2000:]}")

    def tell_clients(self, **shares: float) -> None:
        """Change how many clients misbehave."""
        self.load.tell(msgspec.json.encode(shares))

    def configure(self, *, without: frozenset[str] = frozenset()) -> None:
        """Write every router's configuration, some endpoints left out."""
        for router in self.routers:
            router.config.write_text(self.config_of(router, without))

    def config_of(self, router: Router, without: frozenset[str] = frozenset()) -> str:
        """Give the text of a router's configuration."""
        text = _CONFIG.format(folder=router.folder, port=router.port, workers=self.workers)
        if self.meeting is not None:
            text += self.meeting.section
        return text + "".join(one.block for one in self.endpoints if one.name not in without)


@asynccontextmanager
async def placed(
    folder: Path, *, routers: int, workers: int, rate: float, seed: int, share: bool
) -> AsyncIterator[Place]:
    """Start everything but the load, and end it for sure.

    Args:
        folder: Empty; logs, traces, models and the ledger go there.
        routers: How many.
        workers: Of each.
        rate: Requests a second.
        seed: Of everything drawn.
        share: Whether routers may meet, where they know how.

    Raises:
        NotThere: Something did not come up.
    """
    ports = free_ports(len(PROFILES) + routers)
    endpoints = [_endpoint(folder, n, port) for n, port in enumerate(ports[: len(PROFILES)])]
    clock = built(folder)
    fleet = [_router(folder, n, port, clock) for n, port in enumerate(ports[len(PROFILES) :])]
    spec = folder / "load.json"
    command = [sys.executable, "-m", "benchmarks.storm.load", str(spec)]
    place = Place(
        folder=folder,
        endpoints=endpoints,
        routers=fleet,
        load=Server("load", command, folder / "load.log", {}),
        ledger=folder / "ledger.jsonl",
        rate=rate,
        seed=seed,
        workers=workers,
        meeting=meeting_at(folder) if share and routers > 1 else None,
        client=httpx.AsyncClient(timeout=20.0, limits=_NOTHING_KEPT),
    )
    place.configure()
    try:
        await _start(place)
        yield place
    finally:
        await _end(place)


async def _start(place: Place) -> None:
    for endpoint in place.endpoints:
        await endpoint.server.start()
    for endpoint in place.endpoints:
        await endpoint.server.answers(f"{endpoint.url}/health")
    if place.meeting is not None:
        await place.meeting.server.start()
    for router in place.routers:
        router.disk.open()
        await router.server.start()
    for router in place.routers:
        await router.wait_ready()


async def _end(place: Place) -> None:
    await place.client.aclose()
    await place.load.kill()
    for router in place.routers:
        await router.server.kill()
    for endpoint in place.endpoints:
        await endpoint.server.kill()
    if place.meeting is not None:
        await place.meeting.server.kill()
    for router in place.routers:
        router.disk.close()


def _endpoint(folder: Path, number: int, port: int) -> Endpoint:
    command = [sys.executable, "-m", "foretoken", "simulate-endpoint", "--port", str(port)]
    command += ["--profile", PROFILES[number], "--seed", str(number), "--speed", str(SPEED)]
    command += ["--kv-tokens", str(KV_TOKENS)]
    block = f'[[endpoints]]\nurl = "http://127.0.0.1:{port}"\n'
    block += f'hardware = "{PROFILES[number].partition("/")[0]}"\n'
    if number < EXACT:
        live, replay = f"ipc://{folder}/live-{number}", f"ipc://{folder}/replay-{number}"
        command += ["--kv-events", live, "--kv-events-replay", replay]
        block += f'kv_events = {{address = "{live}", replay = "{replay}"}}\n'
    return Endpoint(
        name=f"127.0.0.1:{port}",
        port=port,
        server=Server(f"endpoint-{number}", command, folder / f"endpoint-{number}.log", {}),
        exact=number < EXACT,
        block=block,
    )


def _router(folder: Path, number: int, port: int, library: Path | None) -> Router:
    own = folder / f"router-{number}"
    (own / "traces").mkdir(parents=True)
    config = folder / f"router-{number}.toml"
    clock = None if library is None else Clock(library, folder / f"router-{number}.clock")
    environment = {"OMP_NUM_THREADS": "1"} | ({} if clock is None else clock.environment)
    command = [sys.executable, "-m", "foretoken", "serve", "--config", str(config)]
    name = f"router-{number}"
    server = Server(name, command, folder / f"{name}.log", environment)
    return Router(
        index=number,
        port=port,
        folder=own,
        config=config,
        server=server,
        disk=disk_at(own / "traces", server),
        clock=clock,
    )
