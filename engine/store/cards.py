"""Saved cards and the customer objects they hang on: rows in, rows out. Who changes them holds the wallet."""

from datetime import datetime

from sqlmodel import Session, col, select

from engine.clock import new_id
from engine.rules.facts import Card
from engine.store.tables import PaymentMethodRow, ProviderCustomerRow


def customer_id_of(session: Session, account_id: str, provider: str, mode: str) -> str | None:
    """Who the account is at a provider, if it is anybody there."""
    row = session.get(ProviderCustomerRow, (account_id, provider, mode))
    return row.customer_id if row else None


def keep_customer(session: Session, account_id: str, provider: str, mode: str, customer_id: str, now: datetime) -> str:
    """Keep who the account is there; the one that was kept first stays."""
    there = customer_id_of(session, account_id, provider, mode)
    if there is not None:
        return there
    session.add(
        ProviderCustomerRow(
            account_id=account_id, provider=provider, mode=mode, customer_id=customer_id, created_at=now
        )
    )
    return customer_id


def forget_customer(session: Session, account_id: str, provider: str, mode: str, customer_id: str) -> None:
    """The provider deleted its customer: the next card gets a new one."""
    row = session.get(ProviderCustomerRow, (account_id, provider, mode))
    if row is not None and row.customer_id == customer_id:
        session.delete(row)


def live_cards(session: Session, account_id: str) -> list[PaymentMethodRow]:
    """The cards that can be charged, the default first, then the newest."""
    return list(
        session.exec(
            select(PaymentMethodRow)
            .where(PaymentMethodRow.account_id == account_id, col(PaymentMethodRow.detached_at).is_(None))
            .order_by(
                col(PaymentMethodRow.is_default).desc(),
                col(PaymentMethodRow.created_at).desc(),
                col(PaymentMethodRow.method_id).desc(),
            )
        ).all()
    )


def get_card(session: Session, account_id: str, method_id: str) -> PaymentMethodRow | None:
    """A card by our id, detached ones too."""
    return session.get(PaymentMethodRow, (account_id, method_id))


def live_card(session: Session, account_id: str, method_id: str | None) -> PaymentMethodRow | None:
    """A card that can be charged."""
    row = get_card(session, account_id, method_id) if method_id is not None else None
    return row if row is not None and row.detached_at is None else None


def keep_card(session: Session, account_id: str, provider: str, card: Card, now: datetime) -> PaymentMethodRow:
    """Keep a card that a payment saved, or what is new about one; the first becomes the default.

    One that was detached stays so: an old event must not bring a card back that its owner removed.
    """
    row = session.exec(
        select(PaymentMethodRow).where(
            PaymentMethodRow.account_id == account_id,
            PaymentMethodRow.provider == provider,
            PaymentMethodRow.provider_reference == card.reference,
        )
    ).first()
    if row is None:
        row = PaymentMethodRow(
            account_id=account_id,
            method_id=new_id("card", now),
            provider=provider,
            provider_reference=card.reference,
            customer_id=card.customer_id,
            brand=card.brand,
            last4=card.last4,
            exp_month=card.exp_month,
            exp_year=card.exp_year,
            is_default=not live_cards(session, account_id),
            created_at=now,
        )
    row.brand, row.last4 = card.brand, card.last4
    row.exp_month, row.exp_year = card.exp_month, card.exp_year
    session.add(row)
    session.flush()
    return row


def cards_by_reference(session: Session, provider: str, references: tuple[str, ...]) -> list[PaymentMethodRow]:
    """Whose cards a provider's ids name; the only look-up without an account."""
    return list(
        session.exec(
            select(PaymentMethodRow).where(
                PaymentMethodRow.provider == provider,
                col(PaymentMethodRow.provider_reference).in_(references),
                col(PaymentMethodRow.detached_at).is_(None),
            )
        ).all()
    )


def account_of_customer(session: Session, provider: str, mode: str, customer_id: str) -> str | None:
    """Whose customer object this is."""
    return session.exec(
        select(ProviderCustomerRow.account_id).where(
            ProviderCustomerRow.provider == provider,
            ProviderCustomerRow.customer_id == customer_id,
            ProviderCustomerRow.mode == mode,
        )
    ).first()
