"""A small real DNS server on the loopback address: UDP and TCP, answers made by dnspython."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


class Zone:
    """Hold what the server answers; tests change it as they go.

    Attributes:
        records: TTL and texts by name and kind.
        rcode: Answered to everything where not ``None``.
        silent: Answer nothing at all.
        truncate: Answer by UDP that the answer is too long.
    """

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], tuple[int, list[str]]] = {}
        self.rcode: dns.rcode.Rcode | None = None
        self.silent = False
        self.truncate = False
        self.asked: list[tuple[str, str, str]] = []

    def say(self, name: str, kind: str, *texts: str, ttl: int = 60) -> None:
        self.records[name, kind] = (ttl, list(texts))

    def answer(self, wire: bytes, by: str) -> bytes | None:
        question = dns.message.from_wire(wire)
        asked = question.question[0]
        name, kind = asked.name.to_text(), dns.rdatatype.to_text(asked.rdtype)
        self.asked.append((name, kind, by))
        if self.silent:
            return None
        answer = dns.message.make_response(question)
        known = self.records.get((name, kind))
        if self.rcode is not None:
            answer.set_rcode(self.rcode)
        elif known is None and not any(one == name for one, _ in self.records):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif self.truncate and by == "udp":
            answer.flags |= dns.flags.TC
        elif known is not None and known[1]:
            answer.answer.append(dns.rrset.from_text(name, known[0], "IN", kind, *known[1]))
        return answer.to_wire()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, zone: Zone) -> None:
        self._zone = zone
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._zone.answer(data, "udp")
        if answer is not None and self._transport is not None:
            self._transport.sendto(answer, addr)


@asynccontextmanager
async def serving(zone: Zone) -> AsyncIterator[str]:
    """Serve a zone; give the address to ask, ``127.0.0.1:PORT``."""

    async def by_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        answer = zone.answer(await reader.readexactly(length), "tcp")
        if answer is not None:
            writer.write(struct.pack("!H", len(answer)) + answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(by_tcp, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Udp(zone), local_addr=("127.0.0.1", port)
    )
    try:
        yield f"127.0.0.1:{port}"
    finally:
        transport.close()
        server.close()
        await server.wait_closed()
