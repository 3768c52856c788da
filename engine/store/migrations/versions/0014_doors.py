"""keys that end and may less, staff sessions that end with their key, and people of an OIDC issuer"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = '0014'
down_revision = '0013'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('credentials', sa.Column('expires_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True))
    op.add_column('credentials', sa.Column('scopes', sqlmodel.sql.sqltypes.AutoString(), nullable=True))
    op.add_column('portal_sessions', sa.Column('credential_id', sqlmodel.sql.sqltypes.AutoString(), nullable=True))
    op.create_table('identities',
    sa.Column('issuer', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('subject', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('identity_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('account_id', sqlmodel.sql.sqltypes.AutoString(length=64), nullable=False),
    sa.Column('role', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('created_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.CheckConstraint("role IN ('owner', 'member')", name=op.f('ck_identities_role_kind')),
    sa.PrimaryKeyConstraint('issuer', 'subject', name=op.f('pk_identities')),
    sa.UniqueConstraint('identity_id', name=op.f('uq_identities_identity_id'))
    )
    op.create_index(op.f('ix_identities_account_id'), 'identities', ['account_id'], unique=False)


def downgrade() -> None:
    op.drop_table('identities')
    op.drop_column('portal_sessions', 'credential_id')
    op.drop_column('credentials', 'scopes')
    op.drop_column('credentials', 'expires_at')
