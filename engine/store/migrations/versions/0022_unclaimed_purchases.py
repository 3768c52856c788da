"""store purchases that nobody claimed: what the desk calls them, and what was decided"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

from engine.clock import new_id

revision = '0022'
down_revision = '0010'
branch_labels = None
depends_on = None

KEY = ('provider', 'provider_account', 'mode', 'object_id')


def upgrade() -> None:
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
    op.drop_index('ix_store_purchases_unclaimed_id', table_name='store_purchases')
    op.drop_index('ix_store_purchases_unclaimed', table_name='store_purchases')
    with op.batch_alter_table('store_purchases') as batch:
        batch.drop_constraint(op.f('ck_store_purchases_status_kind'), type_='check')
        for name in ('reason', 'decided_by', 'status', 'unclaimed_id'):
            batch.drop_column(name)
    op.create_index('ix_store_purchases_unclaimed', 'store_purchases', ['bound_at', 'seen_at'], unique=False)
