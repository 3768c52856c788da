"""holds and limits"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('holds',
    sa.Column('account_id', sqlmodel.sql.sqltypes.AutoString(length=64), nullable=False),
    sa.Column('hold_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('status', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('parts', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('held_credits', sa.BigInteger(), nullable=False),
    sa.Column('captured_credits', sa.BigInteger(), nullable=False),
    sa.Column('counted_credits', sa.BigInteger(), nullable=False),
    sa.Column('ttl_seconds', sa.BigInteger(), nullable=False),
    sa.Column('expires_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('description', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('provider_id', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('provider_name', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('capability_id', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('call_id', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('metadata_json', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('actor', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('created_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('ended_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True),
    sa.CheckConstraint("status IN ('open', 'captured', 'voided', 'expired')", name=op.f('ck_holds_status_kind')),
    sa.CheckConstraint('held_credits > 0 AND captured_credits >= 0 AND counted_credits BETWEEN 0 AND captured_credits', name=op.f('ck_holds_in_range')),
    sa.ForeignKeyConstraint(['account_id'], ['accounts.account_id'], name=op.f('fk_holds_account_id')),
    sa.PrimaryKeyConstraint('account_id', 'hold_id', name=op.f('pk_holds'))
    )
    op.create_index('ix_holds_created', 'holds', ['account_id', 'created_at'], unique=False)
    op.create_index('ix_holds_open', 'holds', ['account_id', 'expires_at'], unique=False, postgresql_where=sa.text("status = 'open'"), sqlite_where=sa.text("status = 'open'"))
    op.add_column('wallets', sa.Column('next_hold_expiry_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True))
    op.create_index('ix_wallets_next_hold_expiry_at', 'wallets', ['next_hold_expiry_at'], unique=False)
    # In words, so that both databases take the column and its check in one statement.
    for limit in ('daily_limit', 'per_call_limit'):
        op.execute(
            f'ALTER TABLE wallets ADD COLUMN {limit}_credits BIGINT '
            f'CONSTRAINT ck_wallets_{limit}_not_negative CHECK ({limit}_credits >= 0)'
        )


def downgrade() -> None:
    for limit in ('daily_limit', 'per_call_limit'):
        op.drop_column('wallets', f'{limit}_credits')
    op.drop_index('ix_wallets_next_hold_expiry_at', table_name='wallets')
    op.drop_column('wallets', 'next_hold_expiry_at')
    op.drop_index('ix_holds_open', table_name='holds', postgresql_where=sa.text("status = 'open'"), sqlite_where=sa.text("status = 'open'"))
    op.drop_index('ix_holds_created', table_name='holds')
    op.drop_table('holds')
