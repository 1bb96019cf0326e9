"""Local addresses and UDP ports of media, and the addresses announced to clients.

Containers and Kubernetes publish a known port range and a public address that the machine itself
does not have. aioice binds any free port on every address; ``gather`` replaces its gathering of
candidates (RFC 8445, section 5.1.1), so that the operator decides.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aioice.ice
import aioice.turn
from aioice.candidate import Candidate, candidate_foundation, candidate_priority

from server.errors import PortsTaken
from server.settings import Settings, SettingsError

SERVERS_S = 5  # that STUN and TURN servers have to answer


@dataclass(frozen=True, slots=True)
class Network:
    """What an operator says; empty is every address, any port, and no other address."""

    ports: tuple[int, int] | None = None
    """The first and the last one."""
    bind: tuple[str, ...] = ()
    announced: tuple[str, ...] = ()

    def numbers(self) -> Iterator[int]:
        """Ports to try, from a random one on; 0 is whichever the system gives."""
        if self.ports is None:
            yield 0
            return
        first, last = self.ports
        start = random.randint(first, last)
        yield from range(start, last + 1)
        yield from range(first, start)

    def shown(self, address: str) -> list[str]:
        """The announced addresses in place of a local one."""
        version = ipaddress.ip_address(address).version
        same = [told for told in self.announced if ipaddress.ip_address(told).version == version]
        return same or [address]


ANY: Final = Network()


def of(settings: Settings) -> Network:
    """What the settings say. Raises ``SettingsError`` when an address is none of this machine."""
    for address in settings.udp_bind:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as tried:
                tried.bind((address, 0))
        except OSError as failure:
            raise SettingsError(
                f"udp_bind holds addresses of this machine, and {address} is none: {failure};"
                " what clients see instead, behind NAT, belongs in udp_announced"
            ) from failure
    return Network(settings.udp_range(), settings.udp_bind, settings.udp_announced)


async def gather(
    network: Network, connection: Any, component: int, addresses: Sequence[str]
) -> list[Candidate]:
    """Candidates of one connection. Raises ``PortsTaken`` when the range has no port left."""
    wanted = network.bind or tuple(addresses)
    bound = [await _open(network, connection, component, address) for address in wanted]
    protocols = [protocol for protocol in bound if protocol is not None]
    if wanted and not protocols and network.ports is not None:
        first, last = network.ports
        raise PortsTaken(f"Every UDP port from {first} to {last} is taken by another peer.")
    hosts = [
        _host(component, told, protocol.local_candidate.port)
        for protocol in protocols
        for told in network.shown(protocol.local_candidate.host)
    ]
    relay = aioice.ice.Connection.get_component_candidates
    relayed, seen = await asyncio.gather(
        relay(connection, component=component, addresses=[], timeout=SERVERS_S),
        _reflexive(connection, protocols),
    )
    return [*hosts, *seen, *relayed]


async def _open(
    network: Network, connection: Any, component: int, address: str
) -> aioice.ice.StunProtocol | None:
    """A socket for the connection; None where no port of the address can be had."""
    loop = asyncio.get_running_loop()
    for port in network.numbers():
        try:
            transport, protocol = await loop.create_datagram_endpoint(
                lambda: aioice.ice.StunProtocol(connection), local_addr=(address, port)
            )
        except OSError:
            continue
        opened: socket.socket = transport.get_extra_info("socket")
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, aioice.turn.UDP_SOCKET_BUFFER_SIZE)
        protocol.local_candidate = _host(component, address, opened.getsockname()[1])
        connection._protocols.append(protocol)
        return protocol
    return None


async def _reflexive(
    connection: Any, protocols: Sequence[aioice.ice.StunProtocol]
) -> list[Candidate]:
    """Our addresses as the STUN server sees them (IPv4, as aioice does)."""
    old = [p for p in protocols if ipaddress.ip_address(p.local_candidate.host).version == 4]
    if not connection.stun_server or not old:
        return []
    ask = aioice.ice.server_reflexive_candidate
    asked = {asyncio.ensure_future(ask(protocol, connection.stun_server)) for protocol in old}
    done, pending = await asyncio.wait(asked, timeout=SERVERS_S)
    for late in pending:
        late.cancel()
    return [each.result()[0] for each in done if each.exception() is None]


def _host(component: int, address: str, port: int) -> Candidate:
    return Candidate(
        foundation=candidate_foundation("host", "udp", address),
        component=component,
        transport="udp",
        priority=candidate_priority(component, "host"),
        host=address,
        port=port,
        type="host",
    )
