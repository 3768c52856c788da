"""the first lot in spend order, in its wallet's own row

Before it can leave the schema, what remains of it goes back to the lot's row.
"""

import json

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = '0019'
down_revision = '0018'
branch_labels = None
depends_on = None

REMAINING = 6
"""The place of `remaining_credits` in a lot as it is carried: after its id, seq, bucket, source, expiry and grant."""


def upgrade() -> None:
    op.add_column('wallets', sa.Column('front_lot', sqlmodel.sql.sqltypes.AutoString(), nullable=True))


def downgrade() -> None:
    connection = op.get_bind()
    rows = connection.execute(sa.text('SELECT account_id, front_lot FROM wallets WHERE front_lot IS NOT NULL'))
    for account_id, front_lot in rows.all():
        _, lot = json.loads(front_lot)
        connection.execute(
            sa.text('UPDATE lots SET remaining_credits = :left WHERE account_id = :account_id AND lot_id = :lot_id'),
            {'left': lot[REMAINING], 'account_id': account_id, 'lot_id': lot[0]},
        )
    op.drop_column('wallets', 'front_lot')
