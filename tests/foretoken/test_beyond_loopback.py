"""A service that listens beyond loopback, asked by an address that is not loopback's."""

import socket
from pathlib import Path

import httpx
import pytest

from foretoken.processes import free_ports
from tests.foretoken.running import Running


def own_address() -> str | None:
    """Give this machine's address towards others, without asking any of them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # of documentation: nothing is sent to it
        except OSError:
            return None
        address = str(probe.getsockname()[0])
    return None if address.startswith(("127.", "0.")) else address


def test_its_control_plane_refuses_whoever_has_no_admins_key(tmp_path: Path) -> None:
    address = own_address()
    if address is None:
        pytest.skip("this machine has no address but loopback")
    port, endpoint = free_ports(2)
    keys = tmp_path / "keys.toml"
    keys.write_text(
        '[boss]\nkey = "sk-boss-123456"\nadmin = true\n[team]\nkey = "sk-team-123456"\n'
    )
    config = tmp_path / "foretoken.toml"
    config.write_text(
        f'[proxy]\nhost = "0.0.0.0"\nport = {port}\n[proxy.access]\nkeys_file = "{keys}"\n'
        f'[[endpoints]]\nurl = "http://127.0.0.1:{endpoint}"\n[trainer]\nenabled = false\n'
    )
    url = f"http://{address}:{port}"
    reads = [
        "endpoints",
        "decisions",
        "decisions/x",
        "models",
        "mode",
        "deciding",
        "",
        "openapi.json",
        "events",
    ]
    changes = [
        ("PUT", "mode", {"mode": "heuristic"}),
        ("PUT", "trials", {}),
        ("POST", "reload", {}),
        ("POST", "endpoints", {"url": "http://10.0.0.9:1"}),
        ("DELETE", f"endpoints/127.0.0.1:{endpoint}", None),
        ("DELETE", "response-cache", None),
    ]
    with Running(tmp_path) as running, httpx.Client(trust_env=False) as client:
        running.start("foretoken", "serve", "--config", str(config))
        running.until("foretoken", f"http://127.0.0.1:{port}/health")
        refused = {
            (method, path, key): client.request(
                method,
                f"{url}/foretoken/{path}",
                json=body,
                headers={} if key is None else {"authorization": f"Bearer {key}"},
            ).status_code
            for method, path, body in [*(("GET", path, None) for path in reads), *changes]
            for key in (None, "sk-team-123456", "sk-wrong-123456")
        }
        boss = {"authorization": "Bearer sk-boss-123456"}
        looked = client.get(f"{url}/foretoken/mode", headers=boss)
        inference = client.post(f"{url}/v1/completions", json={"model": "m", "prompt": "x"})

    assert {asked: status for asked, status in refused.items() if status != 401} == {}
    assert looked.json()["mode"] == "predicted"
    assert inference.status_code == 401
