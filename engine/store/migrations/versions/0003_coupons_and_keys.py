"""coupons counted and guessed, when keys were last used, the audit log by time"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = '0003'
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('coupon_uses',
    sa.Column('coupon', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('used', sa.BigInteger(), nullable=False),
    sa.CheckConstraint('used > 0', name=op.f('ck_coupon_uses_positive')),
    sa.PrimaryKeyConstraint('coupon', name=op.f('pk_coupon_uses'))
    )
    op.create_table('coupon_guesses',
    sa.Column('account_id', sqlmodel.sql.sqltypes.AutoString(length=64), nullable=False),
    sa.Column('started_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('guesses', sa.BigInteger(), nullable=False),
    sa.CheckConstraint('guesses > 0', name=op.f('ck_coupon_guesses_positive')),
    sa.ForeignKeyConstraint(['account_id'], ['accounts.account_id'], name=op.f('fk_coupon_guesses_account_id')),
    sa.PrimaryKeyConstraint('account_id', name=op.f('pk_coupon_guesses'))
    )
    op.add_column('credentials', sa.Column('last_used_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True))
    op.create_index('ix_audit_log_created_at', 'audit_log', ['created_at', 'audit_id'], unique=False)


def downgrade() -> None:
    op.drop_index('ix_audit_log_created_at', table_name='audit_log')
    op.drop_column('credentials', 'last_used_at')
    op.drop_table('coupon_guesses')
    op.drop_table('coupon_uses')
