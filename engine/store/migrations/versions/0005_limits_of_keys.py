"""limits of API keys, and what was spent with each on a day"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('key_usage_daily',
    sa.Column('account_id', sqlmodel.sql.sqltypes.AutoString(length=64), nullable=False),
    sa.Column('api_key_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('day', sa.Date(), nullable=False),
    sa.Column('credits_spent', sa.BigInteger(), nullable=False),
    sa.CheckConstraint('credits_spent >= 0', name=op.f('ck_key_usage_daily_not_negative')),
    sa.ForeignKeyConstraint(['account_id'], ['accounts.account_id'], name=op.f('fk_key_usage_daily_account_id')),
    sa.PrimaryKeyConstraint('account_id', 'api_key_id', 'day', name=op.f('pk_key_usage_daily'))
    )
    for table in ('transactions', 'holds'):
        op.add_column(table, sa.Column('api_key_id', sqlmodel.sql.sqltypes.AutoString(), nullable=True))
    # In words, so that both databases take the column and its check in one statement.
    for limit in ('daily_limit', 'per_call_limit'):
        op.execute(
            f'ALTER TABLE credentials ADD COLUMN {limit}_credits BIGINT '
            f'CONSTRAINT ck_credentials_{limit}_not_negative CHECK ({limit}_credits >= 0)'
        )


def downgrade() -> None:
    for limit in ('daily_limit', 'per_call_limit'):
        op.drop_column('credentials', f'{limit}_credits')
    for table in ('holds', 'transactions'):
        op.drop_column(table, 'api_key_id')
    op.drop_table('key_usage_daily')
