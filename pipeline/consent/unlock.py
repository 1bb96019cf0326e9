"""Opens a registry, with the keys that it was written with only.

Keys are created for an empty registry only. Any other must be opened with a vault whose key signed
the beginning of its audit log. So no process signs records, or encrypts files, with keys that other
processes do not have.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from pipeline.consent.audit import AuditLog
from pipeline.consent.database import Database
from pipeline.consent.erasure import named_files
from pipeline.consent.face_models import load_face_models
from pipeline.consent.ownership import copied_from
from pipeline.consent.registry_config import RegistryConfig, RegistryOverrides, placed
from pipeline.consent.schema import state
from pipeline.consent.signed_settings import CONFIG, SignedSettings, newest
from pipeline.consent.steady_clock import SteadyClock
from pipeline.consent.vault import Vault
from pipeline.errors import RegistryUnavailable

ACTOR: Final = "registry"


@dataclass(frozen=True, slots=True)
class Unlocked:
    """An opened registry's vault, log and settings; ``config`` as it was found."""

    vault: Vault
    log: AuditLog
    settings: SignedSettings
    config: RegistryConfig


def unlock(
    database: Database, clock: SteadyClock, where: Path | str, setup: RegistryOverrides
) -> Unlocked:
    """Opens the vault that ``setup`` names or the registry remembers. ``RegistryUnavailable``."""
    with database.read() as connection:
        setting = newest(connection, CONFIG)  # believed once its vault is open
        name = str(connection.scalar(sa.select(state.c.value).where(state.c.name == "id")))
        begun = not str(
            connection.scalar(sa.select(state.c.value).where(state.c.name == "audit"))
        ).startswith("0:")
    config = RegistryConfig.read(setting.document) if setting else RegistryConfig()
    config = config.changed(setup, where)
    keys = placed(config.operator_key), placed(config.evidence_key)
    vault = Vault(config.folder(where), *keys, make=not begun)
    log = AuditLog(database, vault, clock, name)
    if begun:
        _check_owned(log, vault, database)
    vault.keep_for(name)
    if owner := copied_from(vault, where):
        log.ledger.barred = (
            f"{where} is a copy of {owner}, whose vault this is. It opens read-only: work"
            " with the other one, or remove that one first"
        )
    return Unlocked(vault, log, SignedSettings(database, vault, log, clock), config)


def settle(
    database: Database, opened: Unlocked, where: Path | str, setup: RegistryOverrides
) -> RegistryConfig:
    """Remembers what ``setup`` names that is new; returns what is in force.

    Raises ``ConsentTampered``, ``RegistryUnavailable`` for keys that do not fit, ``PolicyInvalid``
    for models that cannot be used.
    """
    _check_owned(opened.log, opened.vault, database)  # of two who made keys at once, one goes on
    held = remembered(opened.settings)
    wanted = held.changed(setup, where)
    if wanted == held:
        return held
    if (wanted.vault, wanted.evidence_key) != (held.vault, held.evidence_key):
        _check_opens(opened.vault, database)
    if (wanted.face_model, wanted.age_model) != (held.face_model, held.age_model):
        load_face_models(placed(wanted.face_model), placed(wanted.age_model))
    opened.settings.give(CONFIG, wanted.document(), actor=ACTOR)
    return wanted


def remembered(settings: SignedSettings) -> RegistryConfig:
    """What the registry remembers by now. Raises ``ConsentTampered``."""
    setting = settings.in_force(CONFIG)
    return RegistryConfig.read(setting.document) if setting else RegistryConfig()


def _check_owned(log: AuditLog, vault: Vault, database: Database) -> None:
    if not log.owned():
        raise RegistryUnavailable(
            f"consent registry {database.shown} was not signed with the keys of {vault.folder}:"
            " name its own vault and operator's key once in the settings; after a change of the"
            " key, put the old public one into trusted/ in the vault"
        )


def _check_opens(vault: Vault, database: Database) -> None:
    with database.read() as connection:
        files = named_files(connection)
    if files and not vault.opens(min(files)):
        raise RegistryUnavailable(
            f"the files of consent registry {database.shown} do not lie in {vault.folder}, or were"
            " encrypted with another key: name the right vault and evidence key"
        )
