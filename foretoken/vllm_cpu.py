"""Run real vLLM servers on this machine's CPU, a proxy before them, and end all for sure.

For ``make demo-vllm`` and the tests against real servers. Installing and starting vLLM is
``scripts/vllm_cpu.sh``'s work, which a checkout has and an installed package has not.
"""

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from foretoken.errors import DemoFailed
from foretoken.processes import ALL_UP, Processes, free_ports

ROOT: Final = Path(__file__).resolve().parent.parent
SCRIPT: Final = ROOT / "scripts" / "vllm_cpu.sh"
WORK: Final = ROOT / ".work" / "vllm"


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmServer:
    """Name one vLLM server of this machine; the script keeps its process id by that name.

    Attributes:
        name: Names its log and process files.
        port: Loopback port.
        size: Which of the two random models it serves; both answer to ``tiny``.
        flags: More of ``vllm serve``.
    """

    name: str
    port: int
    size: Literal["tiny", "small"]
    flags: tuple[str, ...] = ()

    @property
    def endpoint(self) -> str:
        """Name it as the router does, ``host:port``."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Give its base URL."""
        return f"http://{self.endpoint}"

    def start(self) -> None:
        """Start it and return at once; it takes 15 to 40 s to become healthy."""
        call_script("start", self.name, str(self.port), self.size, *self.flags)

    def wait(self) -> None:
        """Return when it is healthy; raise with its log on standard error when it died."""
        call_script("wait", self.name)

    def stop(self) -> None:
        """Stop it; no error where it is not running."""
        call_script("stop", self.name)

    def kill(self) -> None:
        """Kill it as the kernel would, with no chance to end a response."""
        os.kill(int((WORK / f"{self.name}.pid").read_text()), signal.SIGKILL)


def call_script(*arguments: str) -> None:
    """Run ``scripts/vllm_cpu.sh``; what it starts ends with this process, even if killed.

    Raises:
        DemoFailed: It failed, with the reason on standard error, or this is no checkout.
    """
    if not SCRIPT.exists():
        raise DemoFailed(f"{SCRIPT} is not here: real vLLM is run from a checkout")
    environment = os.environ | {
        "VLLM_WORK": str(WORK),
        "VLLM_OWNER": str(os.getpid()),
        # Routes such as /reset_prefix_cache; the servers listen on loopback alone.
        "VLLM_SERVER_DEV_MODE": "1",
    }
    try:
        subprocess.run(  # noqa: S603 - our own script
            [str(SCRIPT), *arguments], check=True, stdin=subprocess.DEVNULL, env=environment
        )
    except subprocess.CalledProcessError as error:
        raise DemoFailed(f"{SCRIPT.name} {' '.join(arguments)} failed, see above") from error


@contextmanager
def vllm_pair() -> Iterator[tuple[VllmServer, VllmServer]]:
    """Install vLLM where needed, run a faster and a slower server, and stop both at the end."""
    call_script("install")
    ports = free_ports(2)
    fast = VllmServer(name="fast", port=ports[0], size="tiny")
    slow = VllmServer(name="slow", port=ports[1], size="small")
    with ExitStack() as stack:
        for server in (fast, slow):
            stack.callback(server.stop)
            server.stop()  # one that an earlier run left
            server.start()
        for server in (fast, slow):
            server.wait()
        yield fast, slow


@asynccontextmanager
async def proxy_before(servers: Sequence[VllmServer]) -> AsyncIterator[str]:
    """Run ``foretoken serve`` before these servers; give its URL once it sees all of them up."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    endpoints = [flag for server in servers for flag in ("--endpoint", server.url)]
    async with Processes(WORK) as processes:
        await processes.start("proxy", "serve", "--port", str(port), *endpoints)
        await processes.wait_ready("proxy", f"{url}/ready", ALL_UP)
        yield url
