"""DNS records, asked of a real server: what is an answer and what is none."""

import asyncio
from collections.abc import Callable, Sequence

import dns.rcode
import pytest
from pydantic import ValidationError

from collectors.discovery.names import NONE_S, DnsSource
from collectors.discovery.settings import DnsDiscovery
from collectors.settings import EndpointSettings
from tests.collectors.discovery.dns_server import Zone, serving
from tests.collectors.discovery.sources import Counts, Rests, nothing

HOST = "vllm.example."


class Play:
    """Run a source against a zone, a step at each of its rests."""

    def __init__(self, zone: Zone, *steps: Callable[[], object], **values: object) -> None:
        self.told: list[list[EndpointSettings]] = []
        self.counts = Counts()
        self.rests = Rests(*steps)
        asyncio.run(self._run(zone, values))

    async def _run(self, zone: Zone, values: dict[str, object]) -> None:
        async with serving(zone) as address:
            given = {"host": HOST, "port": 8000, "servers": [address], "timeout_s": 0.5, **values}
            settings = DnsDiscovery.model_validate(given)
            source = DnsSource(settings, self.counts.health(), sleep=self.rests)

            def found(endpoints: Sequence[EndpointSettings]) -> None:
                self.told.append(list(endpoints))

            try:
                await source.run(found)
            except asyncio.CancelledError:
                return

    @property
    def names(self) -> list[list[str]]:
        return [[endpoint.name for endpoint in endpoints] for endpoints in self.told]


def test_every_address_is_an_endpoint_and_is_asked_for_again_after_its_ttl() -> None:
    zone = Zone()
    zone.say(HOST, "A", "10.0.0.2", "10.0.0.1", ttl=12)

    play = Play(zone, lambda: zone.say(HOST, "A", "10.0.0.3", ttl=9999), nothing)

    assert play.names == [["10.0.0.1:8000", "10.0.0.2:8000"], ["10.0.0.3:8000"]]
    assert play.rests.seconds == [12.0, 30.0, 30.0]
    assert play.counts.heard_times == 3
    assert ("vllm.example.", "AAAA", "udp") not in zone.asked


def test_the_same_addresses_in_another_order_are_no_news() -> None:
    zone = Zone()
    zone.say(HOST, "A", "10.0.0.2", "10.0.0.1", ttl=0)

    play = Play(zone, lambda: zone.say(HOST, "A", "10.0.0.1", "10.0.0.2"))

    assert len(play.told) == 1
    assert play.rests.seconds[0] == 1.0  # no sooner than configured


def test_ipv6_counts_where_there_is_no_ipv4() -> None:
    zone = Zone()
    zone.say(HOST, "AAAA", "2001:db8::7")

    assert Play(zone).names == [["[2001:db8::7]:8000"]]
    zone.say(HOST, "A", "10.0.0.1")
    assert Play(zone).names == [["10.0.0.1:8000"]]
    assert Play(zone, family="ipv6").names == [["[2001:db8::7]:8000"]]
    assert Play(zone, family="ipv4").names == [["10.0.0.1:8000"]]


def test_services_have_ports_of_their_own_and_the_lowest_priority_comes_first() -> None:
    zone = Zone()
    zone.say(HOST, "SRV", "10 1 8001 a.example.", "10 9 8002 b.example.", "50 1 9000 c.example.")
    zone.say("a.example.", "A", "10.0.0.1", ttl=7)
    zone.say("b.example.", "A", "10.0.0.2", "10.0.0.3")
    zone.say("c.example.", "AAAA", "::9")

    play = Play(zone, record="srv", priority_class=1, port=None)

    (endpoints,) = play.told
    assert {one.name: one.priority_class for one in endpoints} == {
        "10.0.0.1:8001": 1,
        "10.0.0.2:8002": 1,
        "10.0.0.3:8002": 1,
        "[::9]:9000": 2,
    }
    assert play.rests.seconds == [5.0]  # c has no A record: an answer that holds for 5 s


def test_services_may_be_spoken_to_by_name() -> None:
    zone = Zone()
    zone.say(HOST, "SRV", "0 0 8443 A.Example.")

    play = Play(zone, record="srv", by_name=True, scheme="https")

    assert play.told[0][0].url == "https://a.example:8443"


def test_a_service_that_is_decidedly_not_there_has_no_endpoints() -> None:
    zone = Zone()
    zone.say(HOST, "SRV", "0 0 0 .")

    assert Play(zone, record="srv").names == [[]]


def test_a_name_that_does_not_exist_has_no_endpoints() -> None:
    zone = Zone()
    zone.say(HOST, "A", "10.0.0.1")

    play = Play(zone, zone.records.clear)

    assert play.names == [["10.0.0.1:8000"], []]
    assert play.rests.seconds[-1] == NONE_S
    assert not play.counts.failures


def test_a_name_without_such_records_has_no_endpoints() -> None:
    zone = Zone()
    zone.say(HOST, "TXT", '"hello"')

    assert Play(zone).names == [[]]


@pytest.mark.parametrize(
    ("rcode", "silent", "reason"),
    [
        (dns.rcode.SERVFAIL, False, "refused"),
        (dns.rcode.REFUSED, False, "refused"),
        (None, True, "timeout"),
    ],
)
def test_no_answer_changes_nothing_and_is_asked_for_ever_later(
    rcode: dns.rcode.Rcode | None,
    silent: bool,
    reason: str,
) -> None:
    zone = Zone()
    zone.say(HOST, "A", "10.0.0.1", ttl=1)

    def fail() -> None:
        zone.rcode, zone.silent = rcode, silent

    play = Play(zone, fail, nothing, nothing, timeout_s=0.1, most_s=5.0)

    assert play.names == [["10.0.0.1:8000"]]
    assert set(play.counts.failures) == {reason}
    assert play.rests.seconds == [1.0, 2.0, 4.0, 5.0]


def test_one_target_that_cannot_be_asked_for_leaves_the_last_set_standing() -> None:
    zone = Zone()
    zone.say(HOST, "SRV", "0 0 8001 a.example.", ttl=1)
    zone.say("a.example.", "A", "10.0.0.1")

    def fail() -> None:
        zone.say(HOST, "SRV", "0 0 8001 a.example.", "0 0 8001 b.example.")
        zone.rcode = dns.rcode.SERVFAIL

    play = Play(zone, fail, record="srv")

    assert play.names == [["10.0.0.1:8001"]]


def test_long_answers_come_by_tcp() -> None:
    zone = Zone()
    zone.truncate = True
    zone.say(HOST, "A", *(f"10.0.{number}.1" for number in range(200)))

    play = Play(zone)

    assert len(play.told[0]) == 200
    assert ("vllm.example.", "A", "tcp") in zone.asked


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"port": None}, "address records have none"),
        ({"least_s": 9.0, "most_s": 3.0}, "must not be more than"),
        ({"servers": ["ns.example"]}, "not an address"),
    ],
)
def test_settings_that_cannot_be_are_refused(values: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        DnsDiscovery.model_validate({"host": HOST, "port": 8000, **values})
