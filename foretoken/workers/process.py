"""One worker: ``python -m foretoken.workers.process``, started by the supervisor.

Its first line of input says who it is; the end of its input, that the supervisor is gone,
and then it drains and ends too.
"""

import asyncio
import logging
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from signal import SIGTERM
from typing import Final

import uvicorn

from foretoken.build import Built, build
from foretoken.clock import clock_with
from foretoken.garbage import settle
from foretoken.logs import configure
from foretoken.peer import outside_of
from foretoken.routers.outside import Outside
from foretoken.serve import server_of
from foretoken.settings import Settings
from foretoken.workers.bus import Bus
from foretoken.workers.door import Door
from foretoken.workers.member import Member
from foretoken.workers.spec import Spec, divided
from foretoken.workers.table import SharedTable

log = logging.getLogger(__name__)

INFORMED_WITHIN_S: Final = 2.0
_LOOK_S: Final = 0.02


class Admission:
    """Make connections of accepted sockets, as the server's own.

    Args:
        server: Has begun.
    """

    def __init__(self, server: uvicorn.Server) -> None:
        self._server = server
        self._coming: set[asyncio.Task[None]] = set()

    def count(self) -> int:
        """Count connections, those that are coming among them."""
        return len(self._server.server_state.connections) + len(self._coming)

    def admit(self, accepted: socket.socket) -> None:
        """Make a connection, in the background where TLS has to be spoken first."""
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = asyncio.get_running_loop().create_task(self._connect(accepted))
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)

    async def _connect(self, accepted: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._protocol, accepted, ssl=self._server.config.ssl
            )
        except OSError as error:  # gone already, or no TLS: nobody to tell
            log.debug("connection_failed", extra={"problem": str(error)})

    def _protocol(self) -> asyncio.Protocol:
        server = self._server
        # uvicorn's own call; its type names protocols only.
        return server.config.http_protocol_class(  # type: ignore[call-arg]  # as above
            config=server.config,
            server_state=server.server_state,
            app_state=server.lifespan.state,
        )


async def serve(
    server: uvicorn.Server, built: Built, spec: Spec, member: Member, table: SharedTable
) -> None:
    """Serve until told to stop."""
    serving = asyncio.create_task(server.serve(sockets=[]))
    while not (server.started or serving.done()):  # noqa: ASYNC110  # uvicorn has no event
        await asyncio.sleep(_LOOK_S)
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _orphaned, server)
    with suppress(TimeoutError):  # others know what is up: nobody need be refused meanwhile
        await asyncio.wait_for(member.informed.wait(), INFORMED_WITHIN_S)
    if server.started and not server.should_exit:
        admission = Admission(server)
        door = Door(
            socket.socket(fileno=spec.listener),
            table,
            count=admission.count,
            admit=admission.admit,
            clock=member.clock,
        )
        # uvicorn closes it with its other servers, of which there are none.
        server.servers.append(door)  # type: ignore[arg-type]  # has what it calls
        door.open()
        member.at_each_beat(door.settle)
        table.set_ready()
        if spec.restarted and spec.config_path is not None:
            built.service.reload_and_log()
    await serving


def main() -> int:
    """Run one worker; give the exit status."""
    spec = Spec.read(sys.stdin.buffer.readline())
    settings = divided(Settings.model_validate_json(spec.settings))
    log_lines = configure(settings.log.format, settings.log.level)
    table = SharedTable(spec.table, workers=settings.workers, worker=spec.worker)
    bus = Bus(Path(spec.folder), worker=spec.worker, workers=settings.workers, fresh=spec.restarted)
    clock = clock_with(spec.epoch_offset_s)  # all share this one
    member = Member(
        worker=spec.worker,
        table=table,
        bus=bus,
        clock=clock,
        outside=_outside(settings, spec, clock),
    )
    built = build(settings, spec.config(), log_lines, member=member)
    server = server_of(built, settings)
    settle()
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(serve(server, built, spec, member, table))
    return 0 if server.started else 1


def _outside(settings: Settings, spec: Spec, clock: Callable[[], float]) -> Outside | None:
    """Connect with other routers, to whom a store in our own folder is nothing."""
    if settings.routers.url is None:
        return None
    store = settings.store_dir
    private = isinstance(store, Path) and Path(spec.folder) in store.parents
    return outside_of(settings, worker=spec.worker, clock=clock, private=private)


def _orphaned(server: uvicorn.Server) -> None:
    """End as if told to: the supervisor is gone."""
    asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
    server.handle_exit(SIGTERM, None)


if __name__ == "__main__":
    sys.exit(main())
