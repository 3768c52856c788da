"""app stores: customers' tokens, whose a purchase is, polls"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('store_customers',
    sa.Column('account_id', sqlmodel.sql.sqltypes.AutoString(length=64), nullable=False),
    sa.Column('token', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('has_consented', sa.Boolean(), nullable=False),
    sa.Column('updated_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.ForeignKeyConstraint(['account_id'], ['accounts.account_id'], name=op.f('fk_store_customers_account_id')),
    sa.PrimaryKeyConstraint('account_id', name=op.f('pk_store_customers'))
    )
    op.create_index('ix_store_customers_token', 'store_customers', ['token'], unique=False)
    op.create_table('store_purchases',
    sa.Column('provider', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('provider_account', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('mode', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('object_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('product_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('sighting', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('problem', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('seen_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('bound_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True),
    sa.Column('account_id', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('purchase_id', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.PrimaryKeyConstraint('provider', 'provider_account', 'mode', 'object_id', name=op.f('pk_store_purchases'))
    )
    op.create_index('ix_store_purchases_unclaimed', 'store_purchases', ['bound_at', 'seen_at'], unique=False)
    op.create_table('store_cursors',
    sa.Column('provider', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('provider_account', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('polled_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('due_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('provider', 'provider_account', name=op.f('pk_store_cursors'))
    )


def downgrade() -> None:
    op.drop_table('store_cursors')
    op.drop_index('ix_store_purchases_unclaimed', table_name='store_purchases')
    op.drop_table('store_purchases')
    op.drop_index('ix_store_customers_token', table_name='store_customers')
    op.drop_table('store_customers')
