"""the uses of a wallet's newest day, in its own row

Before they can leave the schema they go back to the days' table.
"""

import json

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = '0018'
down_revision = '0017'
branch_labels = None
depends_on = None

ADD = """
INSERT INTO usage_daily (account_id, day, provider_id, provider_name, credits_spent, call_count)
VALUES (:account_id, :day, :provider_id, :provider_name, :credits_spent, :call_count)
"""
CHANGE = """
UPDATE usage_daily SET credits_spent = credits_spent + :credits_spent, call_count = call_count + :call_count,
provider_name = COALESCE(:provider_name, provider_name)
WHERE account_id = :account_id AND day = :day AND provider_id = :provider_id
"""


def upgrade() -> None:
    op.add_column('wallets', sa.Column('used_on', sa.Date(), nullable=True))
    op.add_column('wallets', sa.Column('used_credits', sa.BigInteger(), nullable=True))
    op.add_column('wallets', sa.Column('uses', sqlmodel.sql.sqltypes.AutoString(), nullable=True))
    op.create_index('ix_wallets_used_on', 'wallets', ['used_on'], unique=False)


def downgrade() -> None:
    connection = op.get_bind()
    rows = connection.execute(sa.text('SELECT account_id, used_on, uses FROM wallets WHERE uses IS NOT NULL'))
    for account_id, used_on, uses in rows.all():
        for _, provider_id, provider_name, credits_spent, call_count in json.loads(uses):
            values = {'account_id': account_id, 'day': used_on, 'provider_id': provider_id, 'provider_name': provider_name,
                      'credits_spent': credits_spent, 'call_count': call_count}
            if connection.execute(sa.text(CHANGE), values).rowcount == 0:
                connection.execute(sa.text(ADD), values)
    op.drop_index('ix_wallets_used_on', table_name='wallets')
    for column in ('uses', 'used_credits', 'used_on'):
        op.drop_column('wallets', column)
