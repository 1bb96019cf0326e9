"""The operator's standing orders: the policy in force, and where vault, keys and models are.

A registry that comes from before has none, which is the default policy. Releases that know no
orders would not obey them, so they must not open it.
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
