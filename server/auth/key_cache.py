"""Which key a request carries: Argon2 once for each key, a cheap comparison afterwards.

Hashing is slow and memory-hungry by design, so it runs on one thread with a short queue. The cache
keeps a keyed digest of each key that was right. The key file is read every time, so a revoked key
stops working at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from server.auth import keys
from server.auth.keys import Key, KeyStore
from server.errors import Unauthorized, Unavailable

MAX_WAITING: Final = 16
MAX_REMEMBERED: Final = 1024


class KeyCache:
    """The keys of a store, for the event loop."""

    def __init__(self, store: KeyStore) -> None:
        self.store = store
        self._secret = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, str] = OrderedDict()  # digest of the text -> hash in file
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="keys")

    async def identify(self, text: str) -> Key:
        """The live key that ``text`` is. Raises ``Unauthorized``, ``Unavailable`` when many ask."""
        parts = keys.parse(text)
        if parts is None:
            raise Unauthorized("This is not an API key. Keys begin with ck_.")
        if self._waiting >= MAX_WAITING:
            raise Unavailable("Many keys are being checked. Try again in a moment.", 1)
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            key = await loop.run_in_executor(self._thread, self._check, *parts)
        finally:
            self._waiting -= 1
        if key is None:
            raise Unauthorized("This API key is not known here, has expired, or was revoked.")
        return key

    async def live(self, key_id: str) -> Key | None:
        """The key with this id, if it still opens anything."""
        key = await asyncio.get_running_loop().run_in_executor(self._thread, self.store.get, key_id)
        return key if key is not None and key.live(self.store.clock()) else None

    def close(self) -> None:
        """Ends the thread and closes the file."""
        self._thread.shutdown()
        self.store.close()

    def _check(self, key_id: str, secret: str) -> Key | None:
        key = self.store.get(key_id)
        digest = hmac.digest(self._secret, f"{key_id}_{secret}".encode(), hashlib.sha256)
        if key is None or self._known.get(digest) != key.hash:
            if not keys.verify(key, secret):
                return None
            assert key is not None
            self._remember(digest, key.hash)
        return key if key.live(self.store.clock()) else None

    def _remember(self, digest: bytes, hashed: str) -> None:
        self._known[digest] = hashed
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)
