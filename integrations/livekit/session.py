"""``ContinuumAvatarSession``: an agent's speech goes to an avatar in the same room.

    avatar = ContinuumAvatarSession("http://localhost:8090", avatar="mira")
    await avatar.start(session, room=ctx.room)

Makes a token for the avatar's participant, asks the worker to join with it, and leads the agent's
sound there. The token says on whose behalf it publishes; it holds no key of any server.
"""

from __future__ import annotations

import os
from typing import Any, Final, cast

from aiohttp import ClientError, ClientSession
from livekit import api, rtc
from livekit.agents import AgentSession
from livekit.agents.voice.avatar import AvatarSession, DataStreamAudioOutput

from client.errors import Unreachable, refusal

SAMPLE_RATE: Final = 24_000
ON_BEHALF: Final = "lk.publish_on_behalf"


class ContinuumAvatarSession(AvatarSession[Any]):
    """``worker`` is the URL of ``python -m integrations.livekit``, ``key`` what it asks for.

    Room credentials are those of the agent: ``LIVEKIT_URL``, ``LIVEKIT_API_KEY`` and
    ``LIVEKIT_API_SECRET`` where they are not given. ``start`` raises ``Refused`` or
    ``Unreachable``, and ``ValueError`` without credentials.
    """

    def __init__(
        self,
        worker: str,
        avatar: str = "",
        key: str = "",
        *,
        identity: str = "continuum-avatar",
        livekit_url: str = "",
        api_key: str = "",
        api_secret: str = "",
    ) -> None:
        super().__init__()
        self._worker, self._avatar, self._identity = worker.rstrip("/"), avatar, identity
        self._auth = {"Authorization": f"Bearer {key}"} if key else {}
        self._url = livekit_url or os.environ.get("LIVEKIT_URL", "")
        self._api_key, self._api_secret = api_key, api_secret
        self._launched = ""

    @property
    def avatar_identity(self) -> str:
        """The avatar's participant."""
        return self._identity

    @property
    def provider(self) -> str:
        """As metrics name it."""
        return "continuum"

    async def start(self, agent_session: AgentSession[Any], room: rtc.Room) -> None:
        """The avatar joins; from now on the agent speaks through it. ``room`` is connected."""
        if not self._url:
            raise ValueError("which LiveKit server? Set LIVEKIT_URL, or pass livekit_url.")
        await self._launch(self._token(room))
        await super().start(agent_session, room)
        output = DataStreamAudioOutput(
            room,
            destination_identity=self._identity,
            sample_rate=SAMPLE_RATE,
            wait_remote_track=rtc.TrackKind.KIND_VIDEO,
            wait_playback_start=True,
        )
        agent_session.output.replace_audio_tail(output)

    async def aclose(self) -> None:
        """The avatar leaves."""
        launched, self._launched = self._launched, ""
        if launched:
            try:
                async with ClientSession(headers=self._auth) as http:
                    await http.delete(f"{self._worker}/launch/{launched}")
            except (ClientError, OSError):
                pass  # the worker has gone first
        await super().aclose()

    def _token(self, room: rtc.Room) -> str:
        grants = api.VideoGrants(room_join=True, room=room.name, can_update_own_metadata=True)
        token = api.AccessToken(self._api_key or None, self._api_secret or None)
        token = token.with_kind("agent").with_identity(self._identity).with_name(self._identity)
        on_behalf = {ON_BEHALF: room.local_participant.identity}
        return token.with_grants(grants).with_attributes(on_behalf).to_jwt()

    async def _launch(self, token: str) -> None:
        asked = {"url": self._url, "token": token, "avatar": self._avatar}
        try:
            async with (
                ClientSession(headers=self._auth) as http,
                http.post(f"{self._worker}/launch", json=asked) as answer,
            ):
                if answer.status >= 300:
                    again = answer.headers.get("Retry-After")
                    raise refusal(answer.status, await answer.text(), again)
                self._launched = cast(str, (await answer.json())["id"])
        except (ClientError, OSError) as failure:
            raise Unreachable(f"nobody answers at {self._worker}: {failure}") from failure
