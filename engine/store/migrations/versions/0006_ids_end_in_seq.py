"""a row's id ends in its seq and needs no index; rows of before are found by seq alone"""

from alembic import op

revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('transactions') as table:
        table.drop_constraint('uq_transactions_account_id_transaction_id', type_='unique')


def downgrade() -> None:
    with op.batch_alter_table('transactions') as table:
        table.create_unique_constraint('uq_transactions_account_id_transaction_id', ['account_id', 'transaction_id'])
