"""Every table. Money tables lead every key with `account_id`, so they can be sharded by it as they are.

Rows are built only from frozen values (SQLModel table classes do not validate on construction). Credits and money
are 64-bit (`big`), kinds are text with a CHECK, instants are aware and in UTC. What must be unique in the whole
service, or exists before an account is known, stands in `GLOBAL_TABLES` and nowhere else.
"""

from engine.store.tables.access import CredentialRow as CredentialRow
from engine.store.tables.access import IdentityRow as IdentityRow
from engine.store.tables.access import PortalSessionRow as PortalSessionRow
from engine.store.tables.alerts import AlertMarkRow as AlertMarkRow
from engine.store.tables.alerts import AlertSettingsRow as AlertSettingsRow
from engine.store.tables.alerts import WebhookDeliveryRow as WebhookDeliveryRow
from engine.store.tables.alerts import WebhookEndpointRow as WebhookEndpointRow
from engine.store.tables.base import GLOBAL_TABLES as GLOBAL_TABLES
from engine.store.tables.base import Base as Base
from engine.store.tables.cases import ProviderCaseRow as ProviderCaseRow
from engine.store.tables.demo import DemoClockRow as DemoClockRow
from engine.store.tables.demo import SandboxDisputeRow as SandboxDisputeRow
from engine.store.tables.demo import SandboxInvoiceRow as SandboxInvoiceRow
from engine.store.tables.demo import SandboxRefundRow as SandboxRefundRow
from engine.store.tables.demo import SandboxSessionRow as SandboxSessionRow
from engine.store.tables.demo import SandboxSubscriptionRow as SandboxSubscriptionRow
from engine.store.tables.desk import ProposalRow as ProposalRow
from engine.store.tables.desk import ResolutionRow as ResolutionRow
from engine.store.tables.desk import SecondPaymentRow as SecondPaymentRow
from engine.store.tables.documents import DocumentRow as DocumentRow
from engine.store.tables.documents import DocumentSeriesRow as DocumentSeriesRow
from engine.store.tables.outbox import AuditRow as AuditRow
from engine.store.tables.outbox import MailRow as MailRow
from engine.store.tables.outbox import OutboxRow as OutboxRow
from engine.store.tables.outbox import ReplyRow as ReplyRow
from engine.store.tables.promotions import CouponGuessRow as CouponGuessRow
from engine.store.tables.promotions import CouponUseRow as CouponUseRow
from engine.store.tables.promotions import PurchaseCouponRow as PurchaseCouponRow
from engine.store.tables.purchases import ClaimRow as ClaimRow
from engine.store.tables.purchases import CommitRow as CommitRow
from engine.store.tables.purchases import FactRow as FactRow
from engine.store.tables.purchases import ProviderEventRow as ProviderEventRow
from engine.store.tables.purchases import PurchaseRow as PurchaseRow
from engine.store.tables.purchases import ReversalRow as ReversalRow
from engine.store.tables.recharge import AutoRechargeRow as AutoRechargeRow
from engine.store.tables.recharge import PaymentMethodRow as PaymentMethodRow
from engine.store.tables.recharge import ProviderCustomerRow as ProviderCustomerRow
from engine.store.tables.recharge import RechargeDecisionRow as RechargeDecisionRow
from engine.store.tables.recharge import RechargeRow as RechargeRow
from engine.store.tables.reconcile import PollCursorRow as PollCursorRow
from engine.store.tables.sandbox_cards import SandboxCardRow as SandboxCardRow
from engine.store.tables.sandbox_cards import SandboxCustomerRow as SandboxCustomerRow
from engine.store.tables.sandbox_cards import SandboxEventRow as SandboxEventRow
from engine.store.tables.stores import StoreCustomerRow as StoreCustomerRow
from engine.store.tables.stores import StorePurchaseRow as StorePurchaseRow
from engine.store.tables.subscriptions import EntitlementOverrideRow as EntitlementOverrideRow
from engine.store.tables.subscriptions import SubscriptionInvoiceRow as SubscriptionInvoiceRow
from engine.store.tables.subscriptions import SubscriptionRow as SubscriptionRow
from engine.store.tables.wallets import AccountRow as AccountRow
from engine.store.tables.wallets import HoldRow as HoldRow
from engine.store.tables.wallets import KeyUsageDailyRow as KeyUsageDailyRow
from engine.store.tables.wallets import LotRow as LotRow
from engine.store.tables.wallets import TransactionRow as TransactionRow
from engine.store.tables.wallets import UsageDailyRow as UsageDailyRow
from engine.store.tables.wallets import WalletRow as WalletRow
