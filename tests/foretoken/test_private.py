"""What must never be written down is not: neither in logs at debug level nor in traces."""

import json
import re
from pathlib import Path

import httpx

from foretoken.processes import free_ports
from tests.foretoken.running import Running
from tests.proxy.tracing.receiver import Received, attributes, receiving

MODEL = "llama-3.1-8b"
PROMPT, KEY, WRONG_KEY, HEADER = "marzipan-7531", "quartz-9042", "gneiss-1188", "obsidian-6620"
SECRETS = (PROMPT, KEY, WRONG_KEY, HEADER)
CONFIG = """
[proxy]
port = {port}
[proxy.access]
keys_env = "TEST_KEYS"
[trainer]
enabled = false
[log]
level = "debug"
format = "json"
[tracing]
enabled = true
endpoint = "{collector}"
[[endpoints]]
url = "http://127.0.0.1:{alive}"
[[endpoints]]
url = "http://127.0.0.1:{dead}"
"""


def ask(url: str) -> list[int]:
    """Ask rightly and wrongly, with what is not to be written down in every place it fits."""
    asking = {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 4}
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {KEY}"}) as client:

        def post(path: str = "/v1/chat/completions", **options: object) -> int:
            return client.post(path, **options).status_code  # type: ignore[arg-type]  # httpx's own

        private = {"x-private": HEADER, "cookie": HEADER}
        return [
            post(json=asking, headers=private),
            post(json={**asking, "stream": True}),
            post("/v1/completions", json={"model": MODEL, "prompt": PROMPT, "max_tokens": 2}),
            post(json=asking, headers={"authorization": f"Bearer {WRONG_KEY}"}),
            post(json=asking, headers={"x-api-key": WRONG_KEY, "authorization": ""}),
            post(json=asking, headers={"x-slo-ttft-ms": HEADER}),
            post(json={**asking, "model": "absent"}),
            post(content=json.dumps(asking)[:-5].encode()),
            post("/v1/chat/completions?token=" + HEADER, json=asking),
            post("/foretoken/predict", json={"model": MODEL, "prompt": PROMPT}),
        ]


def told(received: Received) -> str:
    return " ".join(f"{span.name} {attributes(span)}" for span in received.spans)


def test_prompts_keys_and_headers_are_never_written_down(tmp_path: Path) -> None:
    alive, dead, port = free_ports(3)
    config = tmp_path / "foretoken.toml"
    with receiving() as received, Running(tmp_path) as running:
        config.write_text(CONFIG.format(port=port, alive=alive, dead=dead, collector=received.url))
        running.environment = {"TEST_KEYS": f"someone={KEY}"}
        running.start_endpoint("alive", alive)
        running.start("foretoken", "serve", "--config", str(config))
        running.until_logged("foretoken", "endpoint_up")

        statuses = ask(f"http://127.0.0.1:{port}")
        running.terminate("foretoken")
        log = running.log("foretoken")

    assert statuses == [200, 200, 200, 401, 401, 400, 503, 400, 200, 422]
    assert log.count('"request_finished"') >= 4
    assert received.wait_for({f"chat {MODEL}", "upstream"})
    assert [secret for secret in SECRETS if secret in log] == []
    assert [secret for secret in SECRETS if secret in told(received)] == []
    assert all(re.fullmatch(r"\w+", json.loads(line)["event"]) for line in log.splitlines())
