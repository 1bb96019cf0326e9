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

from server.errors import VoiceFailed

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

    @asynccontextmanager
    async def post(
        self, path: str, json: Mapping[str, Any]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer, once its status is good. Raises ``VoiceFailed``, which says what to do."""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENT_S)
        address = f"{self.url.rstrip('/')}/{path}"
        try:
            async with (
                aiohttp.ClientSession(timeout=limits, headers=headers) as session,
                session.post(address, json=json, allow_redirects=False) as response,
            ):
                if response.status != 200:
                    raise VoiceFailed(await self._refusal(address, response))
                yield response
        except (aiohttp.ClientError, TimeoutError) as failure:
            why = str(failure) or type(failure).__name__
            raise VoiceFailed(
                f"{address} does not answer ({why}). Check {self.setting}_url and that it runs."
            ) from failure

    async def _refusal(self, address: str, response: aiohttp.ClientResponse) -> str:
        said = " ".join((await response.content.read(4 * SHOWN)).decode("utf-8", "replace").split())
        advice = HELP.get(
            response.status, "Check {setting}_url, {setting}_key and {setting}_model."
        )
        advice = advice.format(setting=self.setting)
        return f"{address} answered {response.status}: {said[:SHOWN]} {advice}"
