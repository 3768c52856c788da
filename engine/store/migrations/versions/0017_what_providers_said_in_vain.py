"""what providers said that could not be carried out"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = '0017'
down_revision = '0016'
branch_labels = None
depends_on = None


def upgrade() -> None:
    text = sqlmodel.sql.sqltypes.AutoString
    op.create_table('provider_cases',
    sa.Column('provider', text(), nullable=False),
    sa.Column('kind', text(), nullable=False),
    sa.Column('object_id', text(), nullable=False),
    sa.Column('case_id', text(), nullable=False),
    sa.Column('status', text(), nullable=False),
    sa.Column('about', text(), nullable=False),
    sa.Column('account_id', text(), nullable=True),
    sa.Column('purchase_id', text(), nullable=True),
    sa.Column('amount_minor', sa.BigInteger(), nullable=True),
    sa.Column('currency', text(), nullable=True),
    sa.Column('problem', text(), nullable=False),
    sa.Column('decided_by', text(), nullable=True),
    sa.Column('reason', text(), nullable=True),
    sa.Column('created_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('updated_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.CheckConstraint("kind IN ('event', 'foreign_refund')", name=op.f('ck_provider_cases_kind_kind')),
    sa.CheckConstraint("status IN ('waiting', 'retrying', 'closed', 'dismissed')", name=op.f('ck_provider_cases_status_kind')),
    sa.PrimaryKeyConstraint('provider', 'kind', 'object_id', name=op.f('pk_provider_cases'))
    )
    op.create_index('ix_provider_cases_id', 'provider_cases', ['case_id'], unique=True)
    op.create_index('ix_provider_cases_waiting', 'provider_cases', ['created_at'], unique=False, postgresql_where=sa.text("status = 'waiting'"), sqlite_where=sa.text("status = 'waiting'"))


def downgrade() -> None:
    op.drop_table('provider_cases')
