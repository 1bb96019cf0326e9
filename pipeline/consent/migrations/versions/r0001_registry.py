"""The registry's tables; records of the first releases' SQLite file are imported.

There is no downgrade: older releases cannot judge these records, so they must not open them.
"""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_NO_UPDATE = "audit entries are never changed"


def upgrade() -> None:
    """Creates the tables, guards the audit log, adopts what an older release wrote."""
    _consents()
    _others()
    _avatars()
    _audit()
    _state()
    _guard_audit()
    if sa.inspect(op.get_bind()).has_table("consents"):
        _adopt()


def _consents() -> None:
    op.create_table(
        "consent_records",
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


def _others() -> None:
    op.create_table(
        "challenges",
        sa.Column("code", sa.Text, primary_key=True),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("issued_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("used_by", sa.Text),
    )
    op.create_table(
        "denials",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("aliases", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary),
        sa.Column("face", sa.LargeBinary),
        sa.Column("added_at", sa.Double, nullable=False),
        sa.Column("removed_at", sa.Double),
    )
    op.create_table(
        "likenesses",
        sa.Column("consent_id", sa.Text, primary_key=True),
        sa.Column("other", sa.Text, primary_key=True),
        sa.Column("how", sa.Text, nullable=False),
        sa.Column("score", sa.Double, nullable=False),
    )
    op.create_table(
        "overrides",
        sa.Column("consent_id", sa.Text, primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("granted_at", sa.Double, nullable=False),
    )


def _avatars() -> None:
    op.create_table(
        "enrolled_avatars",
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


def _audit() -> None:
    op.create_table(
        "audit",
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


def _state() -> None:
    table = op.create_table(
        "registry_state",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    first = {"id": secrets.token_hex(8), "revision": "1", "audit": "0:", "figures": "0"}
    op.bulk_insert(table, [{"name": name, "value": value} for name, value in first.items()])


def _guard_audit() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for act in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER audit_no_{act.lower()} BEFORE {act} ON audit"
                f" BEGIN SELECT RAISE(ABORT, '{_NO_UPDATE}'); END"
            )
        op.execute("PRAGMA user_version = 2")  # what releases before this one look at
        return
    op.execute(
        "CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION '{_NO_UPDATE}'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit"
        " EXECUTE FUNCTION audit_is_append_only()"
    )


def _adopt() -> None:
    """Records of people stay, to be completed by the operator; so does every revocation.

    Synthetic records that nobody revoked are left out: the gate imports them anew.
    """
    op.execute(
        "INSERT INTO consent_records (id, subject, kind, statement, image_sha256, scopes,"
        " verified_by, created_at, expires_at, revoked_at, adult, territory, challenge,"
        " evidence_sha256, checks, fingerprint, signature)"
        " SELECT id, subject, kind, statement, image_sha256, scopes, verified_by, created_at,"
        " expires_at, revoked_at, FALSE, '', '', '', '', x'', x'' FROM consents"
        " WHERE NOT (id LIKE 'bundled-%' AND revoked_at IS NULL)"
    )
    op.drop_table("consents")
