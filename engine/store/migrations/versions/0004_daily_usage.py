"""daily usage, filled from the ledgers that are there"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = '0004'
down_revision = "0003"
branch_labels = None
depends_on = None

FILL = """
INSERT INTO usage_daily (account_id, day, provider_id, provider_name, credits_spent, call_count)
SELECT u.account_id, u.day, u.provider_id, n.provider_name, u.credits_spent, u.call_count
FROM (
    SELECT d.account_id AS account_id, {day} AS day, COALESCE(d.provider_id, '') AS provider_id,
        MAX(CASE WHEN d.provider_name IS NOT NULL THEN d.seq END) AS named_seq,
        SUM(-d.amount_credits - COALESCE(r.undone, 0)) AS credits_spent,
        SUM(CASE WHEN r.undone = -d.amount_credits THEN 0 ELSE 1 END) AS call_count
    FROM transactions d
    LEFT JOIN (
        SELECT account_id, reverses_id, SUM(amount_credits) AS undone
        FROM transactions
        WHERE reverses_id IS NOT NULL AND type = 'debit_reversal'
        GROUP BY account_id, reverses_id
    ) r ON r.account_id = d.account_id AND r.reverses_id = d.transaction_id
    WHERE d.type = 'debit'
    GROUP BY d.account_id, {day}, COALESCE(d.provider_id, '')
) u
LEFT JOIN transactions n ON n.account_id = u.account_id AND n.seq = u.named_seq
"""


def upgrade() -> None:
    op.create_table('usage_daily',
    sa.Column('account_id', sqlmodel.sql.sqltypes.AutoString(length=64), nullable=False),
    sa.Column('day', sa.Date(), nullable=False),
    sa.Column('provider_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('provider_name', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('credits_spent', sa.BigInteger(), nullable=False),
    sa.Column('call_count', sa.BigInteger(), nullable=False),
    sa.CheckConstraint('credits_spent >= 0 AND call_count >= 0', name=op.f('ck_usage_daily_not_negative')),
    sa.ForeignKeyConstraint(['account_id'], ['accounts.account_id'], name=op.f('fk_usage_daily_account_id')),
    sa.PrimaryKeyConstraint('account_id', 'day', 'provider_id', name=op.f('pk_usage_daily'))
    )
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    day = "SUBSTR(d.created_at, 1, 10)" if is_sqlite else "CAST(d.created_at AT TIME ZONE 'UTC' AS DATE)"
    op.execute(FILL.format(day=day))


def downgrade() -> None:
    op.drop_table('usage_daily')
