"""what waits for a person: proposed grants and debits, and what was decided of a purchase"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('proposals',
    sa.Column('account_id', sqlmodel.sql.sqltypes.AutoString(length=64), nullable=False),
    sa.Column('proposal_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('kind', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('status', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('credits', sa.BigInteger(), nullable=False),
    sa.Column('bucket', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('source', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('reference', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('description', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('command', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('reason', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('requested_by', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('decided_by', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('decision_reason', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('transaction_id', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('created_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('updated_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.CheckConstraint("kind IN ('host_grant', 'admin_grant', 'admin_debit')", name=op.f('ck_proposals_kind_kind')),
    sa.CheckConstraint("status IN ('pending', 'approved', 'rejected')", name=op.f('ck_proposals_status_kind')),
    sa.CheckConstraint('credits > 0', name=op.f('ck_proposals_positive')),
    sa.ForeignKeyConstraint(['account_id'], ['accounts.account_id'], name=op.f('fk_proposals_account_id')),
    sa.PrimaryKeyConstraint('account_id', 'proposal_id', name=op.f('pk_proposals'))
    )
    op.create_index('ix_proposals_id', 'proposals', ['proposal_id'], unique=False)
    op.create_index('ix_proposals_reference', 'proposals', ['account_id', 'reference'], unique=True, postgresql_where=sa.text('reference IS NOT NULL'), sqlite_where=sa.text('reference IS NOT NULL'))
    op.create_index('ix_proposals_waiting', 'proposals', ['status', 'created_at'], unique=False)
    op.create_table('resolutions',
    sa.Column('account_id', sqlmodel.sql.sqltypes.AutoString(length=64), nullable=False),
    sa.Column('purchase_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('action', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('actor', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('reason', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('reversal_id', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('created_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.CheckConstraint("action IN ('credit', 'refund', 'dismiss')", name=op.f('ck_resolutions_action_kind')),
    sa.ForeignKeyConstraint(['account_id', 'purchase_id'], ['purchases.account_id', 'purchases.purchase_id'], name=op.f('fk_resolutions_account_id_purchase_id')),
    sa.PrimaryKeyConstraint('account_id', 'purchase_id', name=op.f('pk_resolutions'))
    )
    op.create_index('ix_reversals_waiting', 'reversals', ['created_at'], unique=False, postgresql_where=sa.text("status = 'pending_approval'"), sqlite_where=sa.text("status = 'pending_approval'"))


def downgrade() -> None:
    op.drop_index('ix_reversals_waiting', table_name='reversals', postgresql_where=sa.text("status = 'pending_approval'"), sqlite_where=sa.text("status = 'pending_approval'"))
    op.drop_table('resolutions')
    op.drop_index('ix_proposals_waiting', table_name='proposals')
    op.drop_index('ix_proposals_reference', table_name='proposals', postgresql_where=sa.text('reference IS NOT NULL'), sqlite_where=sa.text('reference IS NOT NULL'))
    op.drop_index('ix_proposals_id', table_name='proposals')
    op.drop_table('proposals')
