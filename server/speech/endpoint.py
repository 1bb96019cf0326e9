"""One OpenAI-compatible service: where it is, its key, its model, and what its refusals mean.

The base URL ends before the path, as in ``https://api.example/v1``. Redirects are not followed: a
key is for one host.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from server.errors import ServiceFailed, VoiceFailed

CONNECT_S: Final = 5.0
SILENT_S: Final = 10.0  # between two pieces of an answer; less than an utterance may stall
SHOWN: Final = 300  # characters of a refusal
HELP: Final = {
    401: "Check the key in {setting}_key.",
    403: "Check the key in {setting}_key.",
    404: "Check {setting}_url, which ends in /v1 or the like, and {setting}_model.",
    429: "The service is asked too often, or the account is empty.",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A service. ``setting`` names its settings in errors, as ``voice`` does ``voice_url``."""

    setting: str
    url: str
    key: str
    model: str
    failed: type[ServiceFailed] = VoiceFailed
    silent_s: float = SILENT_S

    @asynccontextmanager
    async def post(
        self, path: str, body: Mapping[str, Any] | aiohttp.FormData
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to JSON or a form, once its status is good. Raises ``failed``, which says
        what to do."""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=self.silent_s)
        address = f"{self.url.rstrip('/')}/{path}"
        sent: dict[str, Any] = {"data" if isinstance(body, aiohttp.FormData) else "json": body}
        try:
            async with (
                aiohttp.ClientSession(timeout=limits, headers=headers) as session,
                session.post(address, allow_redirects=False, **sent) as response,
            ):
                if response.status != 200:
                    raise self.failed(await self._refusal(address, response))
                yield response
        except (aiohttp.ClientError, TimeoutError) as failure:
            why = str(failure) or type(failure).__name__
            raise self.failed(
                f"{address} does not answer ({why}). Check {self.setting}_url and that it runs."
            ) from failure

    async def _refusal(self, address: str, response: aiohttp.ClientResponse) -> str:
        said = " ".join((await response.content.read(4 * SHOWN)).decode("utf-8", "replace").split())
        advice = HELP.get(
            response.status, "Check {setting}_url, {setting}_key and {setting}_model."
        )
        advice = advice.format(setting=self.setting)
        return f"{address} answered {response.status}: {said[:SHOWN]} {advice}"


async def whole(response: aiohttp.ClientResponse, most: int) -> bytes:
    """A body of up to ``most`` bytes; of a longer one, its beginning."""
    body = b""
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > most:
            break
    return body[:most]
