"""saved cards, auto-recharge, commit plans, the place reached in each provider's own list"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = '0011'
down_revision = '0010'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('poll_cursors',
    sa.Column('provider', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('provider_account', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('mode', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('cursor', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('polled_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('missed', sa.BigInteger(), nullable=False),
    sa.Column('missed_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True),
    sa.PrimaryKeyConstraint('provider', 'provider_account', 'mode', name=op.f('pk_poll_cursors'))
    )
    op.create_table('sandbox_cards',
    sa.Column('card_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('customer_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('brand', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('last4', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('exp_month', sa.Integer(), nullable=False),
    sa.Column('exp_year', sa.Integer(), nullable=False),
    sa.Column('behaviour', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('is_attached', sa.Boolean(), nullable=False),
    sa.Column('created_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('card_id', name=op.f('pk_sandbox_cards'))
    )
    op.create_index(op.f('ix_sandbox_cards_customer_id'), 'sandbox_cards', ['customer_id'], unique=False)
    op.create_table('sandbox_customers',
    sa.Column('customer_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('idempotency_key', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('account_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('email', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('created_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('customer_id', name=op.f('pk_sandbox_customers')),
    sa.UniqueConstraint('idempotency_key', name=op.f('uq_sandbox_customers_idempotency_key'))
    )
    op.create_table('sandbox_events',
    sa.Column('event_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('type', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('object_kind', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('object_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('created_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('event_id', name=op.f('pk_sandbox_events'))
    )
    op.create_index('ix_sandbox_events_created_at', 'sandbox_events', ['created_at', 'event_id'], unique=False)
    op.create_table('auto_recharges',
    sa.Column('account_id', sqlmodel.sql.sqltypes.AutoString(length=64), nullable=False),
    sa.Column('is_enabled', sa.Boolean(), nullable=False),
    sa.Column('threshold_credits', sa.BigInteger(), nullable=True),
    sa.Column('amount_minor', sa.BigInteger(), nullable=True),
    sa.Column('method_id', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('monthly_cap_minor', sa.BigInteger(), nullable=True),
    sa.Column('failures', sa.Integer(), nullable=False),
    sa.Column('backoff_until_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True),
    sa.Column('updated_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.CheckConstraint('threshold_credits >= 0 AND amount_minor > 0 AND monthly_cap_minor > 0 AND failures >= 0', name=op.f('ck_auto_recharges_in_range')),
    sa.ForeignKeyConstraint(['account_id'], ['accounts.account_id'], name=op.f('fk_auto_recharges_account_id')),
    sa.PrimaryKeyConstraint('account_id', name=op.f('pk_auto_recharges'))
    )
    op.create_table('payment_methods',
    sa.Column('account_id', sqlmodel.sql.sqltypes.AutoString(length=64), nullable=False),
    sa.Column('method_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('provider', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('provider_reference', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('customer_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('brand', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('last4', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('exp_month', sa.Integer(), nullable=False),
    sa.Column('exp_year', sa.Integer(), nullable=False),
    sa.Column('is_default', sa.Boolean(), nullable=False),
    sa.Column('created_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('detached_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True),
    sa.ForeignKeyConstraint(['account_id'], ['accounts.account_id'], name=op.f('fk_payment_methods_account_id')),
    sa.PrimaryKeyConstraint('account_id', 'method_id', name=op.f('pk_payment_methods')),
    sa.UniqueConstraint('account_id', 'provider', 'provider_reference', name=op.f('uq_payment_methods_account_id_provider_provider_reference'))
    )
    op.create_index('ix_payment_methods_reference', 'payment_methods', ['provider', 'provider_reference'], unique=False)
    op.create_table('provider_customers',
    sa.Column('account_id', sqlmodel.sql.sqltypes.AutoString(length=64), nullable=False),
    sa.Column('provider', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('mode', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('customer_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('created_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.ForeignKeyConstraint(['account_id'], ['accounts.account_id'], name=op.f('fk_provider_customers_account_id')),
    sa.PrimaryKeyConstraint('account_id', 'provider', 'mode', name=op.f('pk_provider_customers'))
    )
    op.create_index('ix_provider_customers_customer_id', 'provider_customers', ['provider', 'customer_id'], unique=False)
    op.create_table('recharge_decisions',
    sa.Column('account_id', sqlmodel.sql.sqltypes.AutoString(length=64), nullable=False),
    sa.Column('number', sa.BigInteger(), nullable=False),
    sa.Column('decision_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('fired', sa.Boolean(), nullable=False),
    sa.Column('reason', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('available_credits', sa.BigInteger(), nullable=False),
    sa.Column('threshold_credits', sa.BigInteger(), nullable=True),
    sa.Column('amount_minor', sa.BigInteger(), nullable=True),
    sa.Column('purchase_id', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('again_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True),
    sa.Column('created_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.ForeignKeyConstraint(['account_id'], ['accounts.account_id'], name=op.f('fk_recharge_decisions_account_id')),
    sa.PrimaryKeyConstraint('account_id', 'number', name=op.f('pk_recharge_decisions'))
    )
    op.create_table('commit_purchases',
    sa.Column('account_id', sqlmodel.sql.sqltypes.AutoString(length=64), nullable=False),
    sa.Column('purchase_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('plan_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('plan_name', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('months', sa.Integer(), nullable=False),
    sa.Column('parts', sa.Integer(), nullable=False),
    sa.Column('parts_landed', sa.Integer(), nullable=False),
    sa.Column('next_part_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True),
    sa.CheckConstraint('parts > 0 AND parts_landed BETWEEN 0 AND parts', name=op.f('ck_commit_purchases_in_range')),
    sa.ForeignKeyConstraint(['account_id', 'purchase_id'], ['purchases.account_id', 'purchases.purchase_id'], name=op.f('fk_commit_purchases_account_id_purchase_id')),
    sa.PrimaryKeyConstraint('account_id', 'purchase_id', name=op.f('pk_commit_purchases'))
    )
    op.create_index('ix_commit_purchases_next_part', 'commit_purchases', ['next_part_at'], unique=False, postgresql_where=sa.text('next_part_at IS NOT NULL'), sqlite_where=sa.text('next_part_at IS NOT NULL'))
    op.create_table('recharges',
    sa.Column('account_id', sqlmodel.sql.sqltypes.AutoString(length=64), nullable=False),
    sa.Column('purchase_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('method_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('amount_minor', sa.BigInteger(), nullable=False),
    sa.Column('currency', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('status', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('payment_id', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('decline', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('created_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('asked_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True),
    sa.Column('due_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('ended_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True),
    sa.CheckConstraint("status IN ('pending', 'processing', 'requires_action', 'succeeded', 'failed')", name=op.f('ck_recharges_status_kind')),
    sa.CheckConstraint('amount_minor > 0', name=op.f('ck_recharges_positive')),
    sa.ForeignKeyConstraint(['account_id', 'purchase_id'], ['purchases.account_id', 'purchases.purchase_id'], name=op.f('fk_recharges_account_id_purchase_id')),
    sa.PrimaryKeyConstraint('account_id', 'purchase_id', name=op.f('pk_recharges'))
    )
    op.create_index('ix_recharges_created', 'recharges', ['account_id', 'created_at'], unique=False)
    op.create_index('ix_recharges_due', 'recharges', ['due_at'], unique=False, postgresql_where=sa.text("status IN ('pending', 'processing', 'requires_action')"), sqlite_where=sa.text("status IN ('pending', 'processing', 'requires_action')"))
    op.create_index('ix_recharges_in_flight', 'recharges', ['account_id'], unique=True, postgresql_where=sa.text("status IN ('pending', 'processing', 'requires_action')"), sqlite_where=sa.text("status IN ('pending', 'processing', 'requires_action')"))
    # In words, so that both databases take the column and its check in one statement.
    op.execute(
        "ALTER TABLE purchases ADD COLUMN kind VARCHAR "
        "CONSTRAINT ck_purchases_kind_kind CHECK (kind IN ('auto_recharge', 'commit'))"
    )
    op.add_column('sandbox_sessions', sa.Column('customer_id', sqlmodel.sql.sqltypes.AutoString(), nullable=True))
    op.add_column('sandbox_sessions', sa.Column('card_id', sqlmodel.sql.sqltypes.AutoString(), nullable=True))
    op.add_column('sandbox_sessions', sa.Column('decline', sqlmodel.sql.sqltypes.AutoString(), nullable=True))
    op.add_column('wallets', sa.Column('recharge_at_credits', sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column('wallets', 'recharge_at_credits')
    op.drop_column('sandbox_sessions', 'decline')
    op.drop_column('sandbox_sessions', 'card_id')
    op.drop_column('sandbox_sessions', 'customer_id')
    op.drop_column('purchases', 'kind')
    op.drop_index('ix_recharges_in_flight', table_name='recharges', postgresql_where=sa.text("status IN ('pending', 'processing', 'requires_action')"), sqlite_where=sa.text("status IN ('pending', 'processing', 'requires_action')"))
    op.drop_index('ix_recharges_due', table_name='recharges', postgresql_where=sa.text("status IN ('pending', 'processing', 'requires_action')"), sqlite_where=sa.text("status IN ('pending', 'processing', 'requires_action')"))
    op.drop_index('ix_recharges_created', table_name='recharges')
    op.drop_table('recharges')
    op.drop_index('ix_commit_purchases_next_part', table_name='commit_purchases', postgresql_where=sa.text('next_part_at IS NOT NULL'), sqlite_where=sa.text('next_part_at IS NOT NULL'))
    op.drop_table('commit_purchases')
    op.drop_table('recharge_decisions')
    op.drop_index('ix_provider_customers_customer_id', table_name='provider_customers')
    op.drop_table('provider_customers')
    op.drop_index('ix_payment_methods_reference', table_name='payment_methods')
    op.drop_table('payment_methods')
    op.drop_table('auto_recharges')
    op.drop_index('ix_sandbox_events_created_at', table_name='sandbox_events')
    op.drop_table('sandbox_events')
    op.drop_table('sandbox_customers')
    op.drop_index(op.f('ix_sandbox_cards_customer_id'), table_name='sandbox_cards')
    op.drop_table('sandbox_cards')
    op.drop_table('poll_cursors')
