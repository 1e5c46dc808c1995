"""A source before the fake API server, and manifests to put there."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from collectors.discovery import DiscoveryFailure, SourceHealth
from collectors.discovery.kubernetes import KubernetesSource
from collectors.discovery.settings import KubernetesDiscovery
from collectors.settings import EndpointSettings
from tests.kubernetes_api import KubernetesApi
from tests.kubernetes_store import Object

PATIENCE_S = 30.0
SERVICE = {"kind": "Service", "metadata": {"name": "vllm"}, "spec": {"selector": {"app": "vllm"}}}
READY = [{"type": "Ready", "status": "True"}]


class Counts:
    """Remember what a source was said to do."""

    def __init__(self) -> None:
        self.heard_times = 0
        self.failures: list[str] = []

    def heard(self, source: str) -> None:
        self.heard_times += 1

    def found(self, source: str, endpoints: int) -> None:
        raise AssertionError("whoever merges sources counts this")

    def failed(self, source: str, reason: DiscoveryFailure) -> None:
        self.failures.append(reason)


class Pauses:
    """Stand in for sleep: remember how long it would have been; pass once let go."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.held = False
        self._moved = asyncio.Condition()
        self._passes = asyncio.Semaphore(0)

    async def __call__(self, seconds: float) -> None:
        async with self._moved:
            self.asked.append(seconds)
            self._moved.notify_all()
        if self.held:
            await self._passes.acquire()

    def let_go(self) -> None:
        self._passes.release()

    async def number(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S), self._moved:
            await self._moved.wait_for(lambda: len(self.asked) >= count)


class Told:
    """Remember the sets that were found."""

    def __init__(self) -> None:
        self.sets: list[list[EndpointSettings]] = []
        self._moved = asyncio.Event()

    def __call__(self, endpoints: Sequence[EndpointSettings]) -> None:
        self.sets.append(list(endpoints))
        self._moved.set()

    @property
    def names(self) -> list[list[str]]:
        return [[one.name for one in each] for each in self.sets]

    @property
    def last(self) -> list[str]:
        return self.names[-1]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._moved.clear()
                await self._moved.wait()

    async def comes(self, *names: str) -> None:
        """Wait until the set of these is told."""
        await self.until(lambda: bool(self.sets) and self.last == list(names))


class Bench:
    """Hold what a test looks at."""

    def __init__(self, api: KubernetesApi, folder: Path) -> None:
        self.api = api
        self.told = Told()
        self.counts = Counts()
        self.pauses = Pauses()
        self.now = 0.0
        self.kubeconfig = folder / "kubeconfig"
        self.task: asyncio.Task[None] | None = None
        self.write_kubeconfig()

    def write_kubeconfig(self, **user: str) -> None:
        whole = self.kubeconfig.with_suffix(".new")
        whole.write_text(json.dumps(kubeconfig(self.api.url, user)))
        whole.replace(self.kubeconfig)  # read by another thread at any moment

    def clock(self) -> float:
        self.now += 10.0  # watches last a while, whatever the machine does
        return self.now

    def start(self, **settings: Any) -> None:
        settings = {"kubeconfig": self.kubeconfig, **settings}
        source = KubernetesSource(
            KubernetesDiscovery.model_validate(settings),
            SourceHealth("kubernetes", self.counts),
            clock=self.clock,
            sleep=self.pauses,
            rng=random.Random(7),
        )
        self.task = asyncio.create_task(source.run(self.told))

    async def stop(self) -> None:
        if self.task is not None:
            if self.task.done():
                self.task.result()
            self.task.cancel()
            await asyncio.wait({self.task})


def benched(folder: Path, use: Callable[[Bench], Awaitable[None]], **settings: Any) -> Bench:
    """Run a test before a started API server; settings start a source as well."""

    async def main() -> Bench:
        async with KubernetesApi() as api:
            bench = Bench(api, folder)
            if settings:
                bench.start(**settings)
            try:
                await use(bench)
            finally:
                await bench.stop()
        return bench

    return asyncio.run(main())


def kubeconfig(url: str, user: dict[str, str], namespace: str | None = None) -> Object:
    """Make a kubeconfig of one context."""
    context = {"cluster": "c", "user": "u"} | ({"namespace": namespace} if namespace else {})
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "contexts": [{"name": "x", "context": context}],
        "users": [{"name": "u", "user": user}],
    }


def pod(number: int, *, ready: bool = True, **labels: str) -> Object:
    """Make a pod at 10.0.0.NUMBER, of the app "vllm"."""
    status = {
        "phase": "Running",
        "podIP": f"10.0.0.{number}",
        "conditions": [{"type": "Ready", "status": str(ready)}],
    }
    ports = [{"name": "http", "containerPort": 8000}, {"name": "rank1", "containerPort": 8001}]
    named = {name.replace("__", "/").replace("_", "-"): value for name, value in labels.items()}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"vllm-{number}", "labels": {"app": "vllm", **named}},
        "spec": {"containers": [{"name": "vllm", "ports": ports}]},
        "status": status,
    }


def pool(*numbers: int, name: str = "pool", app: str = "vllm") -> Object:
    """Make a pool with such target ports."""
    return {
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": app}},
            "targetPorts": [{"number": number} for number in numbers or (8000,)],
        },
    }


def ends(*numbers: int, **conditions: bool) -> list[Object]:
    """Make endpoints of a slice for such pods."""
    return [
        {
            "addresses": [f"10.0.0.{number}"],
            "conditions": {"ready": True, **conditions},
            "targetRef": {"kind": "Pod", "name": f"vllm-{number}"},
        }
        for number in numbers
    ]


def slice_of(
    *endpoints: Object, name: str = "vllm-a", ports: Sequence[Object] | None = None, **more: Any
) -> Object:
    """Make a slice of the Service "vllm"."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "vllm"}},
        "addressType": "IPv4",
        "endpoints": list(endpoints),
        "ports": [{"name": "http", "port": 8000}] if ports is None else list(ports),
        **more,
    }


async def begun(bench: Bench, *numbers: int) -> None:
    """Start on a pool of such pods, and wait until they are watched."""
    bench.api.put(pool())
    for number in numbers:
        bench.api.put(pod(number))
    bench.start(pool="pool")
    await bench.told.comes(*(f"10.0.0.{number}:8000" for number in numbers))
    await bench.api.watched("pods", "inferencepools")
