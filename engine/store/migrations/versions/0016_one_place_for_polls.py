"""stores are polled as every other rail is, from where they were"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = '0016'
down_revision = '0015'
branch_labels = None
depends_on = None

AT = sqlmodel.sql.sqltypes.UTCDateTime()
STORES = sa.table('store_cursors', sa.column('provider'), sa.column('provider_account'), sa.column('polled_at', AT))
POLLS = sa.table(
    'poll_cursors',
    sa.column('provider'),
    sa.column('provider_account'),
    sa.column('mode'),
    sa.column('cursor'),
    sa.column('polled_at', AT),
    sa.column('missed'),
)


def upgrade() -> None:
    """Which mode a store is in stood nowhere, so its place is noted for both."""
    bind = op.get_bind()
    for provider, provider_account, polled_at in bind.execute(sa.select(STORES)).all():
        for mode in ('live', 'test'):
            values = {'cursor': str(int(polled_at.timestamp())), 'polled_at': polled_at, 'missed': 0}
            place = {'provider': provider, 'provider_account': provider_account, 'mode': mode}
            bind.execute(sa.insert(POLLS).values(**place, **values))
    op.drop_table('store_cursors')


def downgrade() -> None:
    op.create_table('store_cursors',
    sa.Column('provider', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('provider_account', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('polled_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('due_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('provider', 'provider_account', name=op.f('pk_store_cursors'))
    )
    op.execute("DELETE FROM poll_cursors WHERE provider IN ('apple', 'google')")
