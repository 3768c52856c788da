"""subscriptions, their invoices, entitlement overrides, and purchases that pay for a subscription"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = '0010'
down_revision = '0009'
branch_labels = None
depends_on = None

STRICT = "amount_minor > 0 AND base_credits > 0 AND bonus_credits >= 0"
LOOSE = "amount_minor > 0 AND base_credits >= 0 AND bonus_credits >= 0"


def upgrade() -> None:
    op.create_table('sandbox_invoices',
    sa.Column('invoice_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('reference', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('kind', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('state', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('version', sa.BigInteger(), nullable=False),
    sa.Column('amount_minor', sa.BigInteger(), nullable=False),
    sa.Column('terms', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('period_start_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('period_end_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('payment_id', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('created_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('invoice_id', name=op.f('pk_sandbox_invoices'))
    )
    op.create_index(op.f('ix_sandbox_invoices_reference'), 'sandbox_invoices', ['reference'], unique=False)
    op.create_table('sandbox_subscriptions',
    sa.Column('reference', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('session_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('idempotency_key', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('last_key', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('account_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('subscription_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('state', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('version', sa.BigInteger(), nullable=False),
    sa.Column('terms', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('currency', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('pending_terms', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('credit_minor', sa.BigInteger(), nullable=False),
    sa.Column('trial_days', sa.BigInteger(), nullable=False),
    sa.Column('anchor_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('period_start_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('period_end_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('cancel_at_period_end', sa.Boolean(), nullable=False),
    sa.Column('is_paused', sa.Boolean(), nullable=False),
    sa.Column('created_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('reference', name=op.f('pk_sandbox_subscriptions')),
    sa.UniqueConstraint('idempotency_key', name=op.f('uq_sandbox_subscriptions_idempotency_key')),
    sa.UniqueConstraint('session_id', name=op.f('uq_sandbox_subscriptions_session_id'))
    )
    op.create_index(op.f('ix_sandbox_subscriptions_account_id'), 'sandbox_subscriptions', ['account_id'], unique=False)
    op.create_index(op.f('ix_sandbox_subscriptions_subscription_id'), 'sandbox_subscriptions', ['subscription_id'], unique=False)
    op.create_table('entitlement_overrides',
    sa.Column('account_id', sqlmodel.sql.sqltypes.AutoString(length=64), nullable=False),
    sa.Column('features', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('updated_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.ForeignKeyConstraint(['account_id'], ['accounts.account_id'], name=op.f('fk_entitlement_overrides_account_id')),
    sa.PrimaryKeyConstraint('account_id', name=op.f('pk_entitlement_overrides'))
    )
    op.create_table('subscriptions',
    sa.Column('account_id', sqlmodel.sql.sqltypes.AutoString(length=64), nullable=False),
    sa.Column('subscription_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('provider', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('reference', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('session_id', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('checkout_url', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('state', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('version', sa.BigInteger(), nullable=False),
    sa.Column('terms', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('currency', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('anchor_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('period_start_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('period_end_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('cancel_at_period_end', sa.Boolean(), nullable=False),
    sa.Column('pending_plan', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('pending_interval', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('has_trial', sa.Boolean(), nullable=False),
    sa.Column('is_driving', sa.Boolean(), nullable=False),
    sa.Column('shown', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('problem', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('previewed', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('previewed_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True),
    sa.Column('warned_for_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True),
    sa.Column('rolled_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True),
    sa.Column('success_url', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('cancel_url', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('actor', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('created_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('expires_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('next_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True),
    sa.Column('updated_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.CheckConstraint("state IN ('incomplete', 'trialing', 'active', 'past_due', 'paused', 'ended')", name=op.f('ck_subscriptions_state_kind')),
    sa.CheckConstraint('version >= 0', name=op.f('ck_subscriptions_not_negative')),
    sa.ForeignKeyConstraint(['account_id'], ['accounts.account_id'], name=op.f('fk_subscriptions_account_id')),
    sa.PrimaryKeyConstraint('account_id', 'subscription_id', name=op.f('pk_subscriptions'))
    )
    op.create_index('ix_subscriptions_id', 'subscriptions', ['subscription_id'], unique=False)
    op.create_index('ix_subscriptions_next_at', 'subscriptions', ['next_at'], unique=False)
    op.create_table('subscription_invoices',
    sa.Column('account_id', sqlmodel.sql.sqltypes.AutoString(length=64), nullable=False),
    sa.Column('subscription_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('invoice_id', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('kind', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('state', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('version', sa.BigInteger(), nullable=False),
    sa.Column('is_live', sa.Boolean(), nullable=False),
    sa.Column('amount_minor', sa.BigInteger(), nullable=False),
    sa.Column('currency', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('terms', sqlmodel.sql.sqltypes.AutoString(), nullable=False),
    sa.Column('period_start_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('period_end_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('monthly_credits', sa.BigInteger(), nullable=False),
    sa.Column('months_granted', sa.BigInteger(), nullable=False),
    sa.Column('payment_id', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('receipt_url', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('purchase_id', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('problem', sqlmodel.sql.sqltypes.AutoString(), nullable=True),
    sa.Column('seen_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.CheckConstraint("kind IN ('create', 'renewal', 'proration', 'trial', 'other')", name=op.f('ck_subscription_invoices_kind_kind')),
    sa.CheckConstraint("state IN ('open', 'paid', 'failed', 'void', 'refunded')", name=op.f('ck_subscription_invoices_state_kind')),
    sa.CheckConstraint('amount_minor >= 0 AND monthly_credits >= 0 AND months_granted >= 0', name=op.f('ck_subscription_invoices_not_negative')),
    sa.ForeignKeyConstraint(['account_id', 'subscription_id'], ['subscriptions.account_id', 'subscriptions.subscription_id'], name=op.f('fk_subscription_invoices_account_id_subscription_id')),
    sa.PrimaryKeyConstraint('account_id', 'subscription_id', 'invoice_id', name=op.f('pk_subscription_invoices'))
    )
    op.add_column('purchases', sa.Column('subscription_id', sqlmodel.sql.sqltypes.AutoString(), nullable=True))
    _replace_check(STRICT, LOOSE)


def downgrade() -> None:
    _replace_check(LOOSE, STRICT)
    op.drop_column('purchases', 'subscription_id')
    op.drop_table('subscription_invoices')
    op.drop_index('ix_subscriptions_next_at', table_name='subscriptions')
    op.drop_index('ix_subscriptions_id', table_name='subscriptions')
    op.drop_table('subscriptions')
    op.drop_table('entitlement_overrides')
    op.drop_index(op.f('ix_sandbox_subscriptions_subscription_id'), table_name='sandbox_subscriptions')
    op.drop_index(op.f('ix_sandbox_subscriptions_account_id'), table_name='sandbox_subscriptions')
    op.drop_table('sandbox_subscriptions')
    op.drop_index(op.f('ix_sandbox_invoices_reference'), table_name='sandbox_invoices')
    op.drop_table('sandbox_invoices')


def _replace_check(old: str, new: str) -> None:
    """Say another CHECK of `purchases`. SQLite cannot alter one, and a table that others point at is not made anew
    inside a transaction: its text is replaced in the schema, as SQLite's manual has it for a CHECK."""
    bind = op.get_bind()
    if bind.dialect.name == 'postgresql':
        op.drop_constraint(op.f('ck_purchases_positive'), 'purchases', type_='check')
        op.create_check_constraint(op.f('ck_purchases_positive'), 'purchases', new)
        return
    version = bind.execute(sa.text('PRAGMA schema_version')).scalar_one()
    bind.execute(sa.text('PRAGMA writable_schema = ON'))
    changed = bind.execute(
        sa.text("UPDATE sqlite_master SET sql = replace(sql, :old, :new) WHERE type = 'table' AND name = 'purchases'"),
        {'old': old, 'new': new},
    )
    assert changed.rowcount == 1
    bind.execute(sa.text(f'PRAGMA schema_version = {version + 1}'))
    bind.execute(sa.text('PRAGMA writable_schema = OFF'))
