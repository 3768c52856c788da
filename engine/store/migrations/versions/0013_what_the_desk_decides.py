"""what the desk decides of store purchases that nobody claimed, and of money that came for a purchase twice"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

from engine.clock import new_id

revision = '0013'
down_revision = '0012'
branch_labels = None
depends_on = None

KEY = ('provider', 'provider_account', 'mode', 'object_id')


def upgrade() -> None:
    _decide_unclaimed()
    op.add_column('purchase_facts', sa.Column('parent_id', sqlmodel.sql.sqltypes.AutoString(), nullable=True))
    _keep_second_payments()
    op.create_index('ix_key_usage_daily_day', 'key_usage_daily', ['day'], unique=False)


def _keep_second_payments() -> None:
    text = sqlmodel.sql.sqltypes.AutoString
    op.create_table('second_payments',
    sa.Column('account_id', text(length=64), nullable=False),
    sa.Column('purchase_id', text(), nullable=False),
    sa.Column('payment_id', text(), nullable=False),
    sa.Column('second_id', text(), nullable=False),
    sa.Column('status', text(), nullable=False),
    sa.Column('amount_minor', sa.BigInteger(), nullable=False),
    sa.Column('currency', text(), nullable=False),
    sa.Column('tries', sa.BigInteger(), nullable=False),
    sa.Column('problem', text(), nullable=True),
    sa.Column('decided_by', text(), nullable=True),
    sa.Column('reason', text(), nullable=True),
    sa.Column('created_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('updated_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.CheckConstraint("status IN ('waiting', 'refunding', 'refunded', 'dismissed')", name=op.f('ck_second_payments_status_kind')),
    sa.CheckConstraint('amount_minor > 0 AND tries >= 0', name=op.f('ck_second_payments_positive')),
    sa.ForeignKeyConstraint(['account_id', 'purchase_id'], ['purchases.account_id', 'purchases.purchase_id'], name=op.f('fk_second_payments_account_id_purchase_id')),
    sa.PrimaryKeyConstraint('account_id', 'purchase_id', 'payment_id', name=op.f('pk_second_payments'))
    )
    op.create_index('ix_second_payments_id', 'second_payments', ['second_id'], unique=False)
    op.create_index('ix_second_payments_waiting', 'second_payments', ['created_at'], unique=False, postgresql_where=sa.text("status = 'waiting'"), sqlite_where=sa.text("status = 'waiting'"))


def _decide_unclaimed() -> None:
    text = sqlmodel.sql.sqltypes.AutoString
    op.drop_index('ix_store_purchases_unclaimed', table_name='store_purchases')
    with op.batch_alter_table('store_purchases') as batch:
        batch.add_column(sa.Column('unclaimed_id', text(), nullable=True))
        batch.add_column(sa.Column('status', text(), nullable=True))
        batch.add_column(sa.Column('decided_by', text(), nullable=True))
        batch.add_column(sa.Column('reason', text(), nullable=True))
    _name_those_that_are_there()
    with op.batch_alter_table('store_purchases') as batch:
        batch.alter_column('unclaimed_id', existing_type=text(), nullable=False)
        batch.alter_column('status', existing_type=text(), nullable=False)
        batch.create_check_constraint(
            op.f('ck_store_purchases_status_kind'),
            "status IN ('waiting', 'bound', 'refunding', 'refunded', 'dismissed')",
        )
    op.create_index('ix_store_purchases_unclaimed', 'store_purchases', ['status', 'seen_at'], unique=False)
    op.create_index('ix_store_purchases_unclaimed_id', 'store_purchases', ['unclaimed_id'], unique=True)


def _name_those_that_are_there() -> None:
    there = sa.table(
        'store_purchases',
        *(sa.column(name) for name in (*KEY, 'unclaimed_id', 'status')),
        sa.column('seen_at', sqlmodel.sql.sqltypes.UTCDateTime()),
        sa.column('bound_at', sqlmodel.sql.sqltypes.UTCDateTime()),
    )
    connection = op.get_bind()
    for row in connection.execute(sa.select(there)).mappings().all():
        named = {'unclaimed_id': new_id('unc', row['seen_at']), 'status': 'bound' if row['bound_at'] else 'waiting'}
        is_row = sa.and_(*(there.c[name] == row[name] for name in KEY))
        connection.execute(sa.update(there).where(is_row).values(**named))


def downgrade() -> None:
    op.drop_index('ix_key_usage_daily_day', table_name='key_usage_daily')
    op.drop_index('ix_second_payments_waiting', table_name='second_payments', postgresql_where=sa.text("status = 'waiting'"), sqlite_where=sa.text("status = 'waiting'"))
    op.drop_index('ix_second_payments_id', table_name='second_payments')
    op.drop_table('second_payments')
    op.drop_column('purchase_facts', 'parent_id')
    op.drop_index('ix_store_purchases_unclaimed_id', table_name='store_purchases')
    op.drop_index('ix_store_purchases_unclaimed', table_name='store_purchases')
    with op.batch_alter_table('store_purchases') as batch:
        batch.drop_constraint(op.f('ck_store_purchases_status_kind'), type_='check')
        for name in ('reason', 'decided_by', 'status', 'unclaimed_id'):
            batch.drop_column(name)
    op.create_index('ix_store_purchases_unclaimed', 'store_purchases', ['bound_at', 'seen_at'], unique=False)
