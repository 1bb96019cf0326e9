"""Picture similarity moves from a table into the audit log, where it is signed.

The old rows are set aside and entered into the log by the first opening, which has the key. Older
releases would write records without it, so they must not open the registry.
"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Puts the rows aside and drops their table."""
    query = sa.text("SELECT consent_id, other, how, score FROM likenesses ORDER BY 1, 2")
    rows = [list(row) for row in op.get_bind().execute(query)]
    state = sa.table("registry_state", sa.column("name"), sa.column("value"))
    op.bulk_insert(state, [{"name": "likenesses", "value": json.dumps(rows)}])
    op.drop_table("likenesses")
