"""Find endpoints in the records of a DNS name, asked again as their TTL runs out.

A name that does not exist, or has no such record, has no endpoints: that is an answer. No
answer in time, and one that the server cannot say (SERVFAIL, REFUSED), is none, and leaves
what was last known standing. The system's ``getaddrinfo`` tells no TTL, knows no SRV
records and cannot be bounded in time, so this asks by itself; ``/etc/hosts`` is not read.

Source: RFC 2782 (SRV: the lowest priority there is comes first), RFC 2308 (negative answers).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.rdatatype
import dns.resolver

from collectors.discovery.drafts import Drafts
from collectors.discovery.settings import DnsDiscovery, server_address
from collectors.discovery.source import DiscoveryFailure, Found, SourceHealth, only_changes
from collectors.errors import CollectorsError, EndpointUnusable
from collectors.settings import EndpointSettings

NONE_S: Final = 5.0
"""Asked again after an answer that there is nothing: the TTL that CoreDNS gives to services."""

_AT_ONCE: Final = 16  # targets of SRV records asked for at a time
_LAST_CLASS: Final = 9


class _NotTold(CollectorsError):
    """The servers did not say.

    Attributes:
        reason: In what way.
    """

    def __init__(self, reason: DiscoveryFailure, problem: str) -> None:
        super().__init__(problem)
        self.reason: DiscoveryFailure = reason


class DnsSource:
    """Tell what a DNS name's records say.

    Args:
        settings: Which name, and whom to ask.
        health: Told how it goes.
        sleep: Waits; tests pass another.
    """

    def __init__(
        self,
        settings: DnsDiscovery,
        health: SourceHealth,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._health = health
        self._sleep = sleep
        self._drafts = Drafts(settings)
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._resolver: dns.asyncresolver.Resolver | None = None

    async def run(self, found: Found) -> None:
        """Tell the whole present set on every change, until cancelled."""
        tell = only_changes(found)
        again_s = self._settings.least_s
        while True:
            try:
                endpoints, ttl_s = await self.ask()
            except _NotTold as error:
                self._health.failed(error.reason, str(error))
                again_s = min(again_s * 2, self._settings.most_s)
            else:
                self._health.heard()
                again_s = min(max(ttl_s, self._settings.least_s), self._settings.most_s)
                tell(endpoints)
            await self._sleep(again_s)

    async def ask(self) -> tuple[list[EndpointSettings], float]:
        """Give the endpoints, sorted by name, and after how many seconds to ask again.

        Raises:
            _NotTold: The servers did not say.
        """
        if self._settings.record == "srv":
            found, ttl_s = await self._services()
        else:
            port = self._settings.port
            addresses, ttl_s = await self._addresses(self._settings.host)
            found = [self._drafts.endpoint(address, port) for address in addresses]
        by_name = {one.name: one for one in found}
        return [by_name[name] for name in sorted(by_name)], ttl_s

    async def _services(self) -> tuple[list[EndpointSettings], float]:
        records, ttl_s = await self._records(self._settings.host, "SRV")
        records = [record for record in records if str(record.target) != "."]
        priorities = sorted({record.priority for record in records})
        answers = await asyncio.gather(*(self._of_service(record) for record in records))
        found = []
        for record, (endpoints, its_ttl_s) in zip(records, answers, strict=True):
            ttl_s = min(ttl_s, its_ttl_s)
            rank = self._settings.priority_class + priorities.index(record.priority)
            update = {"priority_class": min(rank, _LAST_CLASS)}
            found += [endpoint.model_copy(update=update) for endpoint in endpoints]
        return found, ttl_s

    # Any: what dnspython makes of a record is known by its type at run time.
    async def _of_service(self, record: Any) -> tuple[list[EndpointSettings], float]:  # noqa: ANN401
        target = record.target.to_text(omit_final_dot=True)
        if self._settings.by_name:
            hosts, ttl_s = [target], self._settings.most_s
        else:
            async with self._at_once:
                hosts, ttl_s = await self._addresses(f"{target}.")
        try:
            return [self._drafts.endpoint(host, record.port) for host in hosts], ttl_s
        except EndpointUnusable as error:  # a name that no URL can hold
            raise _NotTold("invalid", str(error)) from error

    async def _addresses(self, host: str) -> tuple[list[str], float]:
        family = self._settings.family
        found: list[Any] = []  # as above
        ttl_s = self._settings.most_s
        if family != "ipv6":
            found, ttl_s = await self._records(host, "A")
        if family == "ipv6" or (family == "auto" and not found):
            found, its_ttl_s = await self._records(host, "AAAA")
            ttl_s = min(ttl_s, its_ttl_s)
        return [record.address for record in found], ttl_s

    async def _records(self, host: str, kind: str) -> tuple[list[Any], float]:  # as above
        try:
            if self._resolver is None:
                self._resolver = self._open()
            answer = await self._resolver.resolve(
                host,
                kind,
                search=True,
                raise_on_no_answer=False,
                lifetime=self._settings.timeout_s,
            )
        except dns.resolver.NXDOMAIN:
            return [], NONE_S
        except dns.exception.Timeout as error:
            raise _NotTold("timeout", f"{host}: nobody answers in time") from error
        except dns.resolver.NoNameservers as error:
            raise _NotTold("refused", f"{host}: no server can say") from error
        except (dns.exception.DNSException, UnicodeError) as error:
            raise _NotTold("invalid", f"{host}: {error}") from error
        except OSError as error:
            raise _NotTold("unreachable", f"{host}: {error}") from error
        if answer.rrset is None:
            return [], NONE_S
        return list(answer.rrset), float(answer.rrset.ttl)

    def _open(self) -> dns.asyncresolver.Resolver:
        """Open a resolver; the system's configuration may come to be there later."""
        servers = [server_address(server) for server in self._settings.servers]
        resolver = dns.asyncresolver.Resolver(configure=not servers)
        if servers:
            resolver.nameservers = [
                dns.nameserver.Do53Nameserver(address, port) for address, port in servers
            ]
        return resolver
