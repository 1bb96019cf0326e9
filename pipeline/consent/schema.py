"""The tables of the registry, as of the newest migration.

``migrations/`` creates them; a test checks that both agree. Times are seconds since the epoch,
except ``at_ms`` of the audit log, which is hashed.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

metadata: Final = sa.MetaData()

consents: Final = sa.Table(
    "consent_records",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("statement", sa.Text, nullable=False),
    sa.Column("image_sha256", sa.Text, nullable=False, index=True),
    sa.Column("scopes", sa.Text, nullable=False),
    sa.Column("verified_by", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double),
    sa.Column("revoked_at", sa.Double),
    sa.Column("captured_at", sa.Double),
    sa.Column("adult", sa.Boolean, nullable=False),
    sa.Column("birth_year", sa.Integer),
    sa.Column("estimated_age", sa.Double),
    sa.Column("territory", sa.Text, nullable=False),
    sa.Column("challenge", sa.Text, nullable=False),
    sa.Column("evidence_sha256", sa.Text, nullable=False),
    sa.Column("checks", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.LargeBinary, nullable=False),
    sa.Column("signature", sa.LargeBinary, nullable=False),
    sa.Column("erased_at", sa.Double),
    sa.Column("evidence_blob", sa.Text),
    sa.Column("face", sa.LargeBinary),
)
challenges: Final = sa.Table(
    "challenges",
    metadata,
    sa.Column("code", sa.Text, primary_key=True),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("issued_at", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
    sa.Column("used_by", sa.Text),
)
avatars: Final = sa.Table(
    "enrolled_avatars",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("consent_id", sa.Text, nullable=False, index=True),
    sa.Column("image_sha256", sa.Text, nullable=False),
    sa.Column("picture_type", sa.Text, nullable=False),
    sa.Column("picture_blob", sa.Text, nullable=False),
    sa.Column("landmarks_blob", sa.Text, nullable=False),
    sa.Column("enrolled_at", sa.Double, nullable=False),
)
denials: Final = sa.Table(
    "denials",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("aliases", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.LargeBinary),
    sa.Column("face", sa.LargeBinary),
    sa.Column("added_at", sa.Double, nullable=False),
    sa.Column("removed_at", sa.Double),
)
overrides: Final = sa.Table(
    "overrides",
    metadata,
    sa.Column("consent_id", sa.Text, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("granted_at", sa.Double, nullable=False),
)
orders: Final = sa.Table(
    "orders",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("given_at", sa.Double, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("signature", sa.LargeBinary, nullable=False),
)
audit: Final = sa.Table(
    "audit",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False, index=True),
    sa.Column("consent_id", sa.Text, nullable=False, index=True),
    sa.Column("avatar", sa.Text, nullable=False),
    sa.Column("session", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("previous", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("signature", sa.Text, nullable=False),
)
state: Final = sa.Table(
    "registry_state",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
