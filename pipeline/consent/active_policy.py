"""The policy in force: the registry's, and what one process adds to it.

The registry's policy is a signed setting; without one the default applies. A process may add its
own policy. Both are checked, so it can make this process stricter and never less strict.
"""

from __future__ import annotations

from pipeline.consent.database import Database
from pipeline.consent.policy import Policy, examine
from pipeline.consent.records import ConsentRecord, Scope
from pipeline.consent.signed_settings import POLICY, SignedSetting, SignedSettings


class ActivePolicy:
    """What one process asks of the records of one registry."""

    def __init__(
        self, database: Database, settings: SignedSettings, own: Policy | None = None
    ) -> None:
        self._database, self._settings, self.own = database, settings, own
        self._held: tuple[int, Policy] = (-1, Policy())  # as of a revision

    def in_force(self) -> Policy:
        """The registry's. Raises ``ConsentTampered`` or ``PolicyInvalid``."""
        revision = self._database.revision()
        if self._held[0] != revision:
            setting = self._settings.in_force(POLICY)
            self._held = (revision, Policy.read(setting.document) if setting else Policy())
        return self._held[1]

    def set(self, policy: Policy, *, actor: str = "operator", reason: str = "") -> SignedSetting:
        """Sets the registry's policy for all processes, running sessions included; audited."""
        return self._settings.give(POLICY, policy.document(), actor=actor, reason=reason)

    def examine(self, record: ConsentRecord, scope: Scope) -> None:
        """Raises the ``ConsentError`` that names what a record lacks for this scope."""
        held = self.in_force()
        examine([held] if self.own is None else [held, self.own], record, scope)
