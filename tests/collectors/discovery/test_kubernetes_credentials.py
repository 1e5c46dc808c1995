"""Whose credentials the source uses, and when it reads them again."""

import asyncio
import json
import logging
import ssl
from pathlib import Path

import pytest

from collectors.discovery import SourceHealth
from collectors.discovery.kubernetes import KubernetesSource
from collectors.discovery.settings import KubernetesDiscovery
from tests.collectors.discovery.kubernetes_harness import (
    Bench,
    Counts,
    Told,
    begun,
    benched,
    kubeconfig,
    pod,
    pool,
)
from tests.kubernetes_api import KubernetesApi


def test_a_token_that_was_exchanged_counts_from_the_next_try_on(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        bench.write_kubeconfig(token="old")
        bench.api.tokens = {"old"}
        await begun(bench, 1)

        bench.api.tokens = {"new"}
        bench.api.cut()
        await bench.pauses.number(8)
        assert len(bench.told.sets) == 1
        bench.write_kubeconfig(token="new")
        bench.api.put(pod(2))
        await bench.told.comes("10.0.0.1:8000", "10.0.0.2:8000")

    bench = benched(tmp_path, use)

    assert "denied" in bench.counts.failures


def test_a_token_file_is_read_again_where_its_token_is_refused(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old\n")

    async def use(bench: Bench) -> None:
        bench.write_kubeconfig(tokenFile=str(token))
        bench.api.tokens = {"old"}
        await begun(bench, 1)

        bench.api.tokens = {"new"}
        token.write_text("new\n")
        bench.api.end()
        bench.api.put(pod(2))
        await bench.told.comes("10.0.0.1:8000", "10.0.0.2:8000")

    assert benched(tmp_path, use).counts.failures == []


def test_a_pod_finds_the_credentials_of_its_service_account(
    tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, key = certificate
    (tmp_path / "token").write_text("secret")
    (tmp_path / "namespace").write_text("prod")
    (tmp_path / "ca.crt").write_bytes(cert.read_bytes())
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(cert, key)

    async def main() -> list[list[str]]:
        told = Told()
        async with KubernetesApi(tls=tls) as api:
            monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
            monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(api.port))
            api.tokens = {"secret"}
            api.put(pool(), "prod")
            api.put(pod(1), "prod")
            api.put(pod(2), "default")
            settings = KubernetesDiscovery(pool="pool")
            health = SourceHealth("kubernetes", Counts())
            task = asyncio.create_task(
                KubernetesSource(settings, health, account=tmp_path).run(told)
            )
            await told.comes("10.0.0.1:8000")
            task.cancel()
            await asyncio.wait({task})
        return told.names

    assert asyncio.run(main()) == [["10.0.0.1:8000"]]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "not found"),
        ("{", "not valid YAML"),
        ("token: [hunter2\n", "not valid YAML"),
        ("[]", ""),
        ('"text"', ""),
        (json.dumps(kubeconfig("http://127.0.0.1:1", {}) | {"current-context": "z"}), "'z'"),
        (json.dumps(kubeconfig("http://127.0.0.1:1", {}) | {"clusters": []}), "'c'"),
        (json.dumps(kubeconfig("http://127.0.0.1:1", {"client-certificate": "no"})), ""),
        (json.dumps(kubeconfig("http://127.0.0.1:1", {"token": 5})), ""),  # type: ignore[dict-item]
    ],
)
def test_credentials_that_cannot_be_read_are_waited_for(
    tmp_path: Path, text: str | None, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def use(bench: Bench) -> None:
        bench.kubeconfig.unlink()
        if text is not None:
            bench.kubeconfig.write_text(text)
        bench.api.put(pool())
        bench.api.put(pod(1))
        bench.start(pool="pool")
        await bench.pauses.number(3)
        assert bench.told.sets == []

        bench.write_kubeconfig()
        await bench.told.comes("10.0.0.1:8000")

    with caplog.at_level(logging.INFO, logger="collectors"):
        bench = benched(tmp_path, use)

    assert set(bench.counts.failures) == {"unreadable"}
    failed, recovered = caplog.records
    assert (failed.msg, recovered.msg) == ("discovery_failed", "discovery_recovered")
    assert problem in failed.__dict__["problem"]
    assert "hunter2" not in caplog.text + failed.__dict__["problem"]
