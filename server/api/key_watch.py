"""Ends the sessions of a key that was revoked or has expired, and those of its tokens."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from server.auth.key_cache import KeyCache
from server.auth.keys import KeyStoreError
from server.cluster.signalling import Signalling

log = logging.getLogger(__name__)

LOOK_S: Final = 0.5
WHY: Final = "the API key behind this session was revoked or has expired"


async def watch(keyring: KeyCache, signalling: Signalling) -> None:
    """Until cancelled: ends the sessions of keys that no longer open anything."""
    while True:
        await asyncio.sleep(LOOK_S)
        owners = await signalling.owners()
        try:
            ended = {key for key in set(owners.values()) if key and not await keyring.live(key)}
        except KeyStoreError as failure:  # who is here stays: nobody new gets in meanwhile
            log.error("keys cannot be asked whether they still hold: %s", failure)
            continue
        for session, key in owners.items():
            if key in ended:
                await signalling.end(session, WHY)
