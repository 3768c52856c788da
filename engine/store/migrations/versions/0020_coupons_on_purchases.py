"""coupons on purchases

Before they leave the schema, their uses are taken out of the coupons' counts.
"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = '0020'
down_revision = '0019'
branch_labels = None
depends_on = None

COUNTED = 'SELECT coupon, count(*) FROM purchase_coupons WHERE is_counted GROUP BY coupon'


def upgrade() -> None:
    text = sqlmodel.sql.sqltypes.AutoString
    op.create_table('purchase_coupons',
    sa.Column('account_id', text(length=64), nullable=False),
    sa.Column('purchase_id', text(), nullable=False),
    sa.Column('coupon', text(), nullable=False),
    sa.Column('code', text(), nullable=False),
    sa.Column('description', text(), nullable=False),
    sa.Column('percent', sa.Integer(), nullable=False),
    sa.Column('credits', sa.BigInteger(), nullable=False),
    sa.Column('is_counted', sa.Boolean(), nullable=False),
    sa.CheckConstraint('percent > 0 AND credits > 0', name=op.f('ck_purchase_coupons_positive')),
    sa.ForeignKeyConstraint(['account_id', 'purchase_id'], ['purchases.account_id', 'purchases.purchase_id'], name=op.f('fk_purchase_coupons_account_id_purchase_id')),
    sa.PrimaryKeyConstraint('account_id', 'purchase_id', name=op.f('pk_purchase_coupons'))
    )
    op.create_index('ix_purchase_coupons_coupon', 'purchase_coupons', ['account_id', 'coupon'], unique=False)


def downgrade() -> None:
    connection = op.get_bind()
    for coupon, uses in connection.execute(sa.text(COUNTED)).all():
        values = {'coupon': coupon, 'uses': uses}
        connection.execute(sa.text('DELETE FROM coupon_uses WHERE coupon = :coupon AND used <= :uses'), values)
        connection.execute(sa.text('UPDATE coupon_uses SET used = used - :uses WHERE coupon = :coupon'), values)
    op.drop_index('ix_purchase_coupons_coupon', table_name='purchase_coupons')
    op.drop_table('purchase_coupons')
