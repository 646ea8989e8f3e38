"""Which labels a model itself answers in, before its answers were mapped to those of the set."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("frozen_prediction") as table:
        table.add_column(sa.Column("source", sa.String(length=40), nullable=True))
