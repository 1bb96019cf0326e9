"""Signed settings of the operator: policy, and places of vault, keys and models.

An older registry has none, which means the default policy. Older releases would ignore these
settings, so they must not open the registry.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Creates the table."""
    op.create_table(
        "orders",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("given_at", sa.Double, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
    )
