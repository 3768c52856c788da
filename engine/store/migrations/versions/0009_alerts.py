"""alerts: thresholds, preferences, warnings, outgoing webhooks"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('alert_settings',
    sa.Column('account_id', sqlmodel.sql.sqltypes.AutoString(length=64), nullable=False),
    sa.Column('low_balance', sa.Boolean(), nullable=False),
    sa.Column('daily_limit_reached', sa.Boolean(), nullable=False),
    sa.Column('unusual_activity', sa.Boolean(), nullable=False),
    sa.Column('daily_summary', sa.Boolean(), nullable=False),
    sa.Column('weekly_summary', sa.Boolean(), nullable=False),
    sa.Column('credits_expiring', sa.Boolean(), nullable=False),
    sa.Column('auto_recharge', sa.Boolean(), nullable=False),
    sa.Column('refunds', sa.Boolean(), nullable=False),
    sa.ForeignKeyConstraint(['account_id'], ['accounts.account_id'], name=op.f('fk_alert_settings_account_id')),
    sa.PrimaryKeyConstraint('account_id', name=op.f('pk_alert_settings'))
    )
    for kind in ('daily', 'weekly'):
        where = sa.text(f'{kind}_summary')
        op.create_index(f'ix_alert_settings_{kind}', 'alert_settings', ['account_id'], unique=False, postgresql_where=where, sqlite_where=where)
    op.create_table('alert_marks',
    sa.Column('account_id', sqlmodel.sql.sqltypes.AutoString(length=64), nullable=False),
    sa.Column('kind', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('subject', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('created_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('account_id', 'kind', 'subject', name=op.f('pk_alert_marks'))
    )
    op.create_table('webhook_endpoints',
    sa.Column('endpoint_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('url', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('description', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('events', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('is_enabled', sa.Boolean(), nullable=False),
    sa.Column('disabled_reason', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('failed_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True),
    sa.Column('salt', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('digest', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('previous_salt', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('previous_digest', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('previous_until_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True),
    sa.Column('created_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('updated_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('endpoint_id', name=op.f('pk_webhook_endpoints'))
    )
    op.create_index(op.f('ix_webhook_endpoints_created_at'), 'webhook_endpoints', ['created_at'], unique=False)
    op.create_table('webhook_deliveries',
    sa.Column('account_id', sqlmodel.sql.sqltypes.AutoString(length=64), nullable=False),
    sa.Column('delivery_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('endpoint_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('event_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('event_type', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('status', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('attempts', sa.Integer(), nullable=False),
    sa.Column('due_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('response_code', sa.Integer(), nullable=True),
    sa.Column('problem', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('created_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('ended_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True),
    sa.CheckConstraint("status IN ('pending', 'delivered', 'failed')", name=op.f('ck_webhook_deliveries_status_kind')),
    sa.PrimaryKeyConstraint('account_id', 'delivery_id', name=op.f('pk_webhook_deliveries')),
    sa.UniqueConstraint('account_id', 'event_id', 'endpoint_id', name=op.f('uq_webhook_deliveries_account_id_event_id_endpoint_id'))
    )
    pending = sa.text("status = 'pending'")
    op.create_index('ix_webhook_deliveries_due', 'webhook_deliveries', ['endpoint_id', 'due_at'], unique=False, postgresql_where=pending, sqlite_where=pending)
    op.create_index('ix_webhook_deliveries_endpoint', 'webhook_deliveries', ['endpoint_id', 'created_at', 'delivery_id'], unique=False)
    events = sa.text("kind = 'event'")
    op.create_index('ix_outbox_events', 'outbox', ['created_at', 'outbox_id'], unique=False, postgresql_where=events, sqlite_where=events)
    op.add_column('mails', sa.Column('html', sqlmodel.sql.sqltypes.AutoString(), nullable=True))
    op.add_column('mails', sa.Column('problem', sqlmodel.sql.sqltypes.AutoString(), nullable=True))
    op.create_index('ix_usage_daily_day', 'usage_daily', ['day', 'account_id'], unique=False)
    # In words, so that both databases take the column and its check in one statement.
    op.execute(
        'ALTER TABLE wallets ADD COLUMN low_balance_credits BIGINT '
        'CONSTRAINT ck_wallets_low_balance_not_negative CHECK (low_balance_credits >= 0)'
    )
    op.add_column('wallets', sa.Column('limit_alerted_on', sa.Date(), nullable=True))
    op.add_column('lots', sa.Column('warn_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True))
    # Whatever may still expire is looked at once; the job then knows when to warn.
    op.execute("UPDATE lots SET warn_at = granted_at WHERE expires_at < '9999-01-01' AND (is_open OR held_credits > 0)")
    warned = sa.text('warn_at IS NOT NULL')
    op.create_index('ix_lots_warn', 'lots', ['warn_at'], unique=False, postgresql_where=warned, sqlite_where=warned)


def downgrade() -> None:
    op.drop_index('ix_lots_warn', table_name='lots')
    op.drop_column('lots', 'warn_at')
    op.drop_column('wallets', 'limit_alerted_on')
    op.drop_column('wallets', 'low_balance_credits')
    op.drop_index('ix_usage_daily_day', table_name='usage_daily')
    op.drop_column('mails', 'problem')
    op.drop_column('mails', 'html')
    op.drop_index('ix_outbox_events', table_name='outbox')
    for table in ('webhook_deliveries', 'webhook_endpoints', 'alert_marks', 'alert_settings'):
        op.drop_table(table)
