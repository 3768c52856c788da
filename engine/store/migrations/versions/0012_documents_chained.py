"""documents are chained by series and sealed, may be replaced, and may be about a subscription's payment"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = '0012'
down_revision = '0011'
branch_labels = None
depends_on = None


def upgrade() -> None:
    text = sqlmodel.sql.sqltypes.AutoString
    with op.batch_alter_table('documents') as batch:
        batch.drop_constraint(op.f('fk_documents_account_id_purchase_id'), type_='foreignkey')
        batch.create_foreign_key(op.f('fk_documents_account_id'), 'accounts', ['account_id'], ['account_id'])
        batch.add_column(sa.Column('chain', text(), nullable=True))
        batch.add_column(sa.Column('replaced_by', text(), nullable=True))
        batch.add_column(sa.Column('pdf_seal', text(), nullable=True))
        batch.add_column(sa.Column('press', text(), nullable=True))
        batch.create_index('ix_documents_issued_at', ['account_id', 'issued_at'], unique=False)
    op.add_column('mails', sa.Column('document_id', text(), nullable=True))
    op.add_column('document_series', sa.Column('head', text(), nullable=True))


def downgrade() -> None:
    op.drop_column('document_series', 'head')
    op.drop_column('mails', 'document_id')
    with op.batch_alter_table('documents') as batch:
        batch.drop_index('ix_documents_issued_at')
        for name in ('press', 'pdf_seal', 'replaced_by', 'chain'):
            batch.drop_column(name)
        batch.drop_constraint(op.f('fk_documents_account_id'), type_='foreignkey')
        batch.create_foreign_key(op.f('fk_documents_account_id_purchase_id'), 'purchases',
                                 ['account_id', 'purchase_id'], ['account_id', 'purchase_id'])
