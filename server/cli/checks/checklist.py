"""Every check of ``continuum doctor``, in the order of the report."""

from __future__ import annotations

from typing import Final

from server.cli.checks import content, machine, network
from server.cli.checks.finding import Check

CHECKS: Final[dict[str, Check]] = {
    "packages": machine.packages,
    "processor": machine.processor,
    "gpu": machine.gpu,
    "model": content.model,
    "avatars": content.avatars,
    "voices": content.voices,
    "encoders": machine.encoders,
    "registry": content.registry,
    "keys": content.keys,
    "disk": machine.disk,
    "clock": machine.clock,
    "port": network.port,
    "udp": network.udp,
    "turn": network.relays,
    "services": network.services,
}
