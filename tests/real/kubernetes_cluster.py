"""A cluster for kubectl to act on: the fake API server, and who acts on what it holds.

Pods get an address and become ready as a kubelet makes them; a StatefulSet gets its pods. The
servers behind the addresses are simulated ones that run all along: 127.0.1.1 is that of a
pod whose name ends in 0, and so on.
"""

import asyncio
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.kubernetes_api import KubernetesApi
from tests.kubernetes_store import RESOURCES, Change, Key, Object

PODS, SETS = (
    next(one for one in RESOURCES if one.plural == plural) for plural in ("pods", "statefulsets")
)


def kubectl_binary() -> str:
    """Give kubectl, or skip the test where there is none."""
    found = shutil.which("kubectl")
    if found is None:
        pytest.skip("no kubectl in PATH: install it to see it change the fleet")
    return found


def address(name: str) -> str:
    """Give the address of a pod.

    >>> address("vllm-2")
    '127.0.1.3'
    """
    return f"127.0.1.{int(name.rpartition('-')[2]) + 1}"


class Cluster:
    """Do what a kubelet and a controller do, at once and in the writer's turn."""

    def __init__(self, api: KubernetesApi) -> None:
        self._store = api.store
        self._store.lingering = True
        self._store.listeners.append(self._on_change)

    def _on_change(self, change: Change) -> None:
        if change.key.plural == "pods":
            if change.after is not None:
                self._run(change.key, change.after)
            else:
                self._settle(change.key.namespace)
        elif change.key.plural == "statefulsets":
            self._settle(change.key.namespace)

    def _run(self, key: Key, pod: Object) -> None:
        if pod.get("status", {}).get("podIP") is None:
            ready = [{"type": "Ready", "status": "True"}]
            status = {"phase": "Running", "podIP": address(key.name), "conditions": ready}
            self._store.patch(PODS, key, {"status": status})

    def _settle(self, namespace: str) -> None:
        for one in list(self._store.of("apps", "statefulsets", namespace)):
            name, template = one["metadata"]["name"], one["spec"]["template"]
            for number in range(8):
                key = Key("", "pods", namespace, f"{name}-{number}")
                there = self._store.objects.get(key)
                if number < one["spec"]["replicas"]:
                    if there is None:
                        made = {**template, "metadata": {**template["metadata"], "name": key.name}}
                        self._store.put(PODS, namespace, made)
                elif there is not None and "deletionTimestamp" not in there["metadata"]:
                    self._store.delete(key)


@dataclass(kw_only=True)
class Kubectl:
    """Run kubectl as people do, and keep what was typed and said."""

    api: KubernetesApi
    home: Path
    binary: str
    said: list[str] = field(default_factory=list)

    async def __call__(self, *arguments: str, manifest: list[Object] | None = None) -> str:
        """Run one command.

        Args:
            arguments: After ``kubectl``.
            manifest: Given to it for ``-f -``.
        """
        given = None
        if manifest is not None:
            given = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifest}).encode()
        process = await asyncio.create_subprocess_exec(
            *(self.binary, "--server", self.api.url, *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={"HOME": str(self.home), "PATH": "/usr/bin:/bin"},
        )
        output = (await process.communicate(given))[0].decode()
        assert process.returncode == 0, output
        self.said += [f"$ kubectl {' '.join(arguments)}", output.rstrip()]
        return output
