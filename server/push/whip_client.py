"""A WHIP client (RFC 9725): offers a session's picture and sound to a media server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin

import aiohttp
from aiortc import RTCIceServer

from server.errors import ServerError
from server.push.push import Broken, Refused
from server.rtc.participant import Participant
from server.sessions import offering
from server.sessions.session import Session

CONNECT_S: Final = 15.0
HTTP: Final = aiohttp.ClientTimeout(total=15.0, sock_connect=5.0)
MAX_ANSWER: Final = 65_536
AGAIN: Final = (408, 425, 429, 500, 502, 503, 504)  # statuses that may be better later


@dataclass(slots=True)
class WhipTarget:
    """Pushes by WHIP; ``token`` is sent as a bearer token."""

    session: Session
    url: str
    token: str
    ice_servers: Sequence[RTCIceServer]

    async def run(self, live: Callable[[], None]) -> None:
        """Sends until the connection ends. Raises ``Refused`` or ``Broken``."""
        participant, sdp = await offering.offer(self.session, self.ice_servers)
        resource = ""
        try:
            async with aiohttp.ClientSession(timeout=HTTP, headers=self._headers()) as http:
                answer, resource = await self._post(http, sdp)
                await self._send(participant, answer, live)
        except (aiohttp.ClientError, TimeoutError) as failure:
            raise Broken(f"{type(failure).__name__}: {failure}") from failure
        except ServerError as failure:
            raise Refused(failure.detail) from failure
        finally:
            await asyncio.shield(self._leave(participant, resource))

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    async def _post(self, http: aiohttp.ClientSession, sdp: str) -> tuple[str, str]:
        """The SDP answer, and the address of the resource that was made."""
        headers = {"Content-Type": "application/sdp"}
        async with http.post(
            self.url, data=sdp, headers=headers, allow_redirects=False
        ) as response:
            text = (await response.content.read(MAX_ANSWER)).decode("utf-8", "replace")
            if response.status == 201:
                return text, urljoin(self.url, response.headers.get("Location", ""))
            why = f"the server answers {response.status} {response.reason}"
            raise Broken(why) if response.status in AGAIN else Refused(why)

    async def _send(self, participant: Participant, answer: str, live: Callable[[], None]) -> None:
        changed, peer = asyncio.Event(), participant.peer
        peer.on("connectionstatechange", changed.set)
        await offering.accept(self.session, participant, answer)
        async with asyncio.timeout(CONNECT_S):
            while peer.connectionState in ("new", "connecting"):
                changed.clear()
                await changed.wait()
        if participant.connected:
            live()
        while participant.connected:
            changed.clear()
            await changed.wait()
        raise Broken(f"the connection is {peer.connectionState}")

    async def _leave(self, participant: Participant, resource: str) -> None:
        """Both sides let go, as far as the other one still answers."""
        await offering.withdraw(self.session, participant)
        if resource:
            with suppress(aiohttp.ClientError, TimeoutError):
                async with aiohttp.ClientSession(timeout=HTTP, headers=self._headers()) as http:
                    await http.delete(resource)
