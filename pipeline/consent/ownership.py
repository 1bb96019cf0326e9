"""Which registry a vault belongs to, when copies of the registry exist.

A copy has the identity, keys and history of its original. It must not write, or erase files that
the original needs. Where the original file is gone, the copy takes its place, as a restored backup
should. A registry on a database server is identified by its log alone.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path

from pipeline.consent.vault import Vault
from pipeline.errors import RegistryUnavailable


def copied_from(vault: Vault, where: Path | str) -> Path | None:
    """The registry that the one at ``where`` is a copy of; None if the vault is its own.

    Remembers it in ``vault/heads/<registry>.owner``. Raises ``RegistryUnavailable``.
    """
    if isinstance(where, str):
        return None
    note, here = vault.folder / "heads" / f"{vault.blobs.name}.owner", where.resolve()
    try:
        owner = Path(os.fsdecode(note.read_bytes())) if note.exists() else None
        if owner == here:
            return None
        if owner is not None and _holds(owner, vault.blobs.name) and not owner.samefile(here):
            return owner
        note.parent.mkdir(mode=0o700, exist_ok=True)
        part = note.with_name(f"{note.name}.{secrets.token_hex(4)}.part")
        part.write_bytes(os.fsencode(here))
        part.replace(note)
    except OSError as error:
        raise RegistryUnavailable(
            f"the consent registry's vault {vault.folder} cannot be used ({error}):"
            " name a writable folder for it"
        ) from error
    return None


def _holds(path: Path, registry: str) -> bool:
    """Whether the file is there and is this registry, in whatever state."""
    if not path.is_file():
        return False
    query = "SELECT value FROM registry_state WHERE name = 'id'"
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as file:
            return bool(file.execute(query).fetchone() == (registry,))
    except sqlite3.Error:
        return False
