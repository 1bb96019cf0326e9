"""The newest entry of the audit log, kept in the vault's folder, where it only moves forward.

Write access to the database gives no access to this file. A log that is shorter than this, or has
another entry at its place, was cut, rolled back, or is an old copy. One file for each registry:

    vault/heads/<registry>     number:hash:milliseconds:signature, as in the entry
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.consent.chain import Entry, signed
from pipeline.errors import AuditBroken, RegistryUnavailable

_SIZE = 512


@dataclass(frozen=True, slots=True)
class Head:
    """An entry's place in the chain."""

    seq: int
    hash: str
    at_ms: int
    signature: str

    @classmethod
    def of(cls, entry: Entry) -> Head:
        """That of an entry."""
        return cls(entry.seq, entry.hash, entry.at_ms, entry.signature)

    def line(self) -> bytes:
        """As it is kept: always of one length, so that it is written in one piece."""
        return f"{self.seq}:{self.hash}:{self.at_ms}:{self.signature}".encode().ljust(_SIZE)


class KeptHead:
    """The head of one registry's log. Raises ``RegistryUnavailable`` when it cannot be used."""

    def __init__(self, path: Path, vouches: Callable[[bytes, bytes], bool]) -> None:
        self.path, self._vouches = path, vouches
        self._proved: tuple[bytes, Head] = (b"", Head(0, "", 0, ""))  # as it was read or written

    def read(self) -> Head | None:
        """What is kept; None where nothing was yet. Raises ``AuditBroken`` for what is no head."""
        try:
            with self._locked(os.O_RDONLY, fcntl.LOCK_SH) as file:
                return self._parsed(os.pread(file, _SIZE, 0))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from error

    def grow(self, head: Head) -> None:
        """Keeps ``head``, unless a later one is kept already."""
        try:
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            with self._locked(os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX) as file:
                before = os.pread(file, _SIZE, 0)
                held = self._parsed(before) if before else None
                if held is None or head.seq > held.seq:
                    os.pwrite(file, head.line(), 0)
                    self._proved = (head.line(), head)
                    if held is None:
                        os.fsync(file)
        except OSError as error:
            raise self._unusable(error) from error

    @contextmanager
    def _locked(self, flags: int, kind: int) -> Iterator[int]:
        file = os.open(self.path, flags | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, kind)
            yield file
        finally:
            os.close(file)

    def _parsed(self, raw: bytes) -> Head | None:
        if not raw:  # made by a process that was killed before it wrote
            return None
        proved, known = self._proved
        if raw == proved:
            return known
        try:
            seq, digest, at_ms, signature = raw.decode("ascii").rstrip().split(":")
            head = Head(int(seq), digest, int(at_ms), signature)
        except ValueError:
            head = Head(0, "", 0, "")
        entry = Entry(head.seq, 0, "", "", "", "", "", "", "", head.hash, head.signature)
        if not self._vouches(*signed(entry)):
            raise AuditBroken(
                f"{self.path} is not a head that the operator signed: bring back the vault from a"
                " backup, or move this file away, which accepts the audit log as it is"
            )
        self._proved = (raw, head)
        return head

    def _unusable(self, error: OSError) -> RegistryUnavailable:
        return RegistryUnavailable(
            f"the consent registry's vault cannot be used ({error}): name a writable folder for it"
        )
