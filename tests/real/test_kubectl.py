"""kubectl changes the fleet of a running router while it serves, and no request is lost."""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from foretoken.processes import Processes, free_ports
from tests.collectors.discovery.kubernetes_harness import kubeconfig
from tests.kubernetes_api import KubernetesApi
from tests.kubernetes_store import Object
from tests.real.kubernetes_cluster import Cluster, Kubectl, address, kubectl_binary

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

PATIENCE_S = 60.0
MODEL = "llama-3.1-8b"
PODS = 3
VALIDATE = "--validate=false"  # the fake publishes no schemas

Fleet = dict[str, dict[str, Any]]


@dataclass
class Load:
    """Ask on and on; remember every answer."""

    url: str
    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    over: bool = False

    async def run(self, client: httpx.AsyncClient) -> None:
        """Ask until it is over, and wait for the last answers."""
        async with asyncio.TaskGroup() as group:
            while not self.over:
                group.create_task(self._ask(client))
                await asyncio.sleep(0.15)

    async def _ask(self, client: httpx.AsyncClient) -> None:
        body = {"model": MODEL, "prompt": "hello " * 40, "max_tokens": 30, "stream": True}
        answer = await client.post(f"{self.url}/v1/completions", json=body)
        whole = answer.status_code == 200 and answer.text.rstrip().endswith("data: [DONE]")
        if whole:
            self.answers[answer.headers["x-foretoken-endpoint"]] += 1
        else:
            self.wrong.append(f"{answer.status_code} {answer.text[-300:]}")


class Held:
    """One long stream, and the endpoint it runs on."""

    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self.endpoint: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._stream(url, client))

    async def _stream(self, url: str, client: httpx.AsyncClient) -> str:
        body = {
            "model": MODEL,
            "prompt": "long",
            "max_tokens": 1500,
            "stream": True,
            "ignore_eos": True,
        }
        async with client.stream("POST", f"{url}/v1/completions", json=body) as answer:
            self.endpoint.set_result(answer.headers["x-foretoken-endpoint"])
            return (await answer.aread()).decode()


class Endpoints:
    """Follow ``foretoken endpoints --watch --json``."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def until(self, condition: Callable[[Fleet], bool]) -> Fleet:
        """Read on until the fleet is so."""
        assert self._process.stdout is not None
        fleet: Fleet = {}
        try:
            async with asyncio.timeout(PATIENCE_S):
                while line := await self._process.stdout.readline():
                    fleet = {one["endpoint"]: one for one in json.loads(line)}
                    if condition(fleet):
                        return fleet
        except TimeoutError:
            pytest.fail(f"the fleet stays {fleet}")
        pytest.fail(f"foretoken endpoints ended; the fleet was {fleet}")


@dataclass(kw_only=True)
class Stage:
    """Hold what a test acts on."""

    api: KubernetesApi
    kubectl: Kubectl
    endpoints: Endpoints
    client: httpx.AsyncClient
    url: str
    port: int

    def name(self, number: int) -> str:
        return f"{address(f'vllm-{number}')}:{self.port}"

    async def look(self) -> None:
        """Keep what ``foretoken endpoints`` shows, for whoever reads the session."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "foretoken", "endpoints", "--url", self.url),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "COLUMNS": "120"},
        )
        self.kubectl.said += ["$ foretoken endpoints", (await process.communicate())[0].decode()]

    async def fleet(self, *numbers: int) -> Fleet:
        """Wait until those pods, and no others, take requests."""
        names = {self.name(number) for number in numbers}

        def is_so(fleet: Fleet) -> bool:
            takes = {name for name, one in fleet.items() if one["up"] and not one["draining"]}
            return takes == names

        return await self.endpoints.until(is_so)

    @asynccontextmanager
    async def loaded(self) -> AsyncIterator[Load]:
        """Ask all the while; all was answered in the end."""
        load = Load(self.url)
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run(self.client))
            yield load
            load.over = True
        assert load.wrong == []
        assert load.answers.total() > 0
        self.kubectl.said.append(f"answered meanwhile: {dict(sorted(load.answers.items()))}")


@asynccontextmanager
async def staged(folder: Path, settings: str) -> AsyncIterator[Stage]:
    """Start an API server, simulated endpoints and a router that asks it."""
    binary = kubectl_binary()
    port, metrics_port = free_ports(2)
    async with KubernetesApi() as api, Processes(folder) as running:
        Cluster(api)
        for number in range(PODS):
            host = address(f"vllm-{number}")
            where = ("--host", host, "--port", str(port))
            await running.start(f"vllm-{number}", "simulate-endpoint", *where)
        (folder / "kubeconfig").write_text(json.dumps(kubeconfig(api.url, {}, "prod")))
        config = folder / "foretoken.toml"
        config.write_text(
            f'proxy.port = {metrics_port}\n[[discovery]]\nkind = "kubernetes"\n'
            f'kubeconfig = "{folder / "kubeconfig"}"\n{settings}\n'
        )
        for number in range(PODS):
            url = f"http://{address(f'vllm-{number}')}:{port}/health"
            await running.wait_ready(f"vllm-{number}", url)
        await running.start("router", "serve", "--config", str(config))
        url = f"http://127.0.0.1:{metrics_port}"
        await running.wait_ready("router", f"{url}/health")
        kubectl = Kubectl(api=api, home=folder, binary=binary)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "foretoken", "endpoints", "--url", url),
            *("--watch", "--json", "--interval", "0.2"),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        try:
            async with httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False) as client:
                yield Stage(
                    api=api,
                    kubectl=kubectl,
                    endpoints=Endpoints(process),
                    client=client,
                    url=url,
                    port=port,
                )
        finally:
            (folder / "session.txt").write_text("\n".join(kubectl.said))
            process.kill()
            await process.wait()


def _labelled(name: str, **labels: str) -> Object:
    return {"name": name, "namespace": "prod", "labels": {"app": "vllm", **labels}}


def _pod(number: int) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _labelled(f"vllm-{number}"),
        "spec": {"containers": [{"name": "vllm", "image": "vllm/vllm-openai"}]},
    }


def _service() -> Object:
    spec = {"selector": {"app": "vllm"}, "ports": [{"name": "http", "port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": _labelled("vllm"), "spec": spec}


def _slice(port: int, *numbers: int, leaving: int | None = None) -> Object:
    meta = _labelled("vllm-abcde", **{"kubernetes.io/service-name": "vllm"})
    terminating = {"ready": False, "serving": True, "terminating": True}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": meta,
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": port}],
        "endpoints": [
            {
                "addresses": [address(f"vllm-{number}")],
                "conditions": terminating if number == leaving else {"ready": True},
                "targetRef": {"kind": "Pod", "name": f"vllm-{number}"},
            }
            for number in numbers
        ],
    }


def _pool(port: int) -> list[Object]:
    selector = {"matchLabels": {"app": "vllm"}}
    template = {key: _pod(0)[key] for key in ("apiVersion", "kind", "metadata", "spec")}
    pool = {
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": _labelled("vllm"),
        "spec": {"selector": selector, "targetPorts": [{"number": port}]},
    }
    replicas = {"replicas": 1, "selector": selector, "template": template}
    pods = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": _labelled("vllm"),
        "spec": replicas,
    }
    return [pool, pods]


def test_slices_of_a_service_change_the_fleet_and_no_request_is_lost(tmp_path: Path) -> None:
    async def main() -> None:
        async with staged(tmp_path, 'service = "vllm"') as stage:
            kubectl = stage.kubectl
            apply = ("apply", VALIDATE, "-n", "prod", "-f", "-")
            begin = [_service(), _pod(0), _pod(1), _slice(stage.port, 0, 1)]
            await kubectl(*apply, manifest=begin)
            await stage.fleet(0, 1)
            await stage.look()
            async with stage.loaded():
                await kubectl("label", "pod", "vllm-1", "-n", "prod", "foretoken.dev/hardware=l4")
                second = stage.name(1)
                await stage.endpoints.until(lambda fleet: fleet[second]["hardware"] == "l4")

                await kubectl(*apply, manifest=[_pod(2), _slice(stage.port, 0, 1, 2)])
                await stage.fleet(0, 1, 2)
                await stage.look()

                await kubectl(*apply, manifest=[_slice(stage.port, 0, 1, 2, leaving=0)])
                await stage.fleet(1, 2)
                await stage.look()

                await kubectl("delete", "pod", "vllm-1", "-n", "prod", "--wait=false")
                await stage.fleet(2)
                await stage.look()
            await kubectl("delete", "endpointslice", "vllm-abcde", "-n", "prod")
            await stage.fleet()
            await stage.look()

    asyncio.run(main())


def test_pods_of_a_pool_change_the_fleet_and_no_request_is_lost(tmp_path: Path) -> None:
    async def main() -> None:
        async with staged(tmp_path, 'pool = "vllm"') as stage:
            kubectl, prod = stage.kubectl, ("-n", "prod")
            await kubectl("apply", VALIDATE, *prod, "-f", "-", manifest=_pool(stage.port))
            await stage.fleet(0)
            await stage.look()
            async with stage.loaded():
                await kubectl("scale", "statefulset", "vllm", *prod, "--replicas=3")
                await stage.fleet(0, 1, 2)
                await stage.look()

                await kubectl("label", "pod", "vllm-2", *prod, "app=maintenance", "--overwrite")
                await stage.fleet(0, 1)
                await stage.look()
                stage.api.store.compact()  # the router's version is gone,
                stage.api.cut()  # and so is its connection
                await kubectl("label", "pod", "vllm-2", *prod, "app=vllm", "--overwrite")
                await stage.fleet(0, 1, 2)
                await stage.look()

                held = Held(stage.url, stage.client)
                at = await held.endpoint
                number = next(one for one in range(PODS) if stage.name(one) == at)
                others = [one for one in range(PODS) if one != number]
                name = f"vllm-{number}"
                await kubectl("delete", "pod", name, *prod, "--wait=false")
                assert (await stage.fleet(*others))[at]["draining"]
                assert not held.task.done()
                await stage.look()
                assert (await held.task).rstrip().endswith("data: [DONE]")
                await stage.endpoints.until(lambda fleet: at not in fleet)

                stage.api.finish("Pod", name, "prod")  # its set makes it anew
                await stage.fleet(0, 1, 2)
                await stage.look()
                await kubectl("scale", "statefulset", "vllm", *prod, "--replicas=1")
                await stage.fleet(0)
                await stage.look()

    asyncio.run(main())
