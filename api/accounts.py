"""Accounts over HTTP: the host opens them, lists them and looks one up."""

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta

from api.body import Body, Line, PageQuery
from api.scope import Answer, Call, Resource
from api.transactions import Pagination, View
from engine.flows.accounts import NewAccount, open_account
from engine.rules.countries import check_country
from engine.rules.errors import AccountExists, IdempotencyMismatch, Invalid, NotFound
from engine.rules.fields import Country, Email
from engine.store import accounts
from engine.store.accounts import Account
from engine.store.database import reading

AccountId = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")]
Locale = Annotated[str, Meta(max_length=35, pattern=r"\A[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*\Z")]


class AccountBody(Body, frozen=True, kw_only=True):
    """Without `plan` the account starts on the catalogue's first plan and gets its monthly credits; with one, only
    if `grantMonthlyCredits` says so."""

    email: Email
    account_id: AccountId | None = None
    name: Line | None = None
    country: Country | None = None
    locale: Locale | None = None
    plan: Line | None = None
    grant_monthly_credits: bool | None = None


class AccountAnswer(View, frozen=True, kw_only=True):
    """`nextMonthlyCreditsAt` is null where no monthly credits come from here."""

    account_id: str
    email: str | None
    name: str | None
    country: str | None
    locale: str
    plan: str | None
    status: str
    next_monthly_credits_at: datetime | None
    created_at: datetime


class AccountsAnswer(View, frozen=True, kw_only=True):
    """Newest first."""

    accounts: tuple[AccountAnswer, ...]
    pagination: Pagination


def post_account(call: Call[AccountBody]) -> Answer:
    """Open an account with its wallet."""
    ask = call.ask
    assert call.principal is not None
    if ask.account_id is not None and not ask.account_id.isascii():
        raise Invalid("accountId", "An account id is 1 to 64 of A-Z, a-z, 0-9, _ and -.")
    if ask.plan is None and ask.grant_monthly_credits is False:
        raise Invalid(
            "grantMonthlyCredits", "The first plan comes with its monthly credits; name a plan to refuse them."
        )
    check_country("country", ask.country)
    order = NewAccount(
        account_id=ask.account_id,
        email=ask.email,
        name=ask.name,
        country=ask.country,
        locale=ask.locale,
        plan=ask.plan,
        grant_monthly_credits=bool(ask.grant_monthly_credits),
        actor=call.actor,
        scope=call.principal.credential_id,
        key=call.key,
    )
    opened = open_account(call.runtime, order, call.runtime.clock.now())
    return Answer(account_answer(opened.account), is_replay=opened.is_replay)


def list_accounts(call: Call[PageQuery]) -> Answer:
    """All accounts, newest first."""
    ask = call.ask
    with reading(call.runtime.db) as session:
        found, total = accounts.accounts_page(session, ask.page, ask.limit)
    return Answer(
        AccountsAnswer(
            accounts=tuple(map(account_answer, found)),
            pagination=Pagination(page=ask.page, limit=ask.limit, total=total),
        )
    )


def get_account(call: Call[None]) -> Answer:
    """One account."""
    with reading(call.runtime.db) as session:
        found = accounts.find_account(session, call.account_id)
    if found is None:
        raise NotFound("account")
    return Answer(account_answer(found))


def account_answer(account: Account) -> AccountAnswer:
    """An account as the API shows it."""
    return AccountAnswer(
        account_id=account.account_id,
        email=account.email,
        name=account.name,
        country=account.country,
        locale=account.locale,
        plan=account.plan,
        status=account.status,
        next_monthly_credits_at=account.next_grant_at,
        created_at=account.created_at,
    )


RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="POST",
        path="/v1/accounts",
        may="wallet",
        handler=post_account,
        asks=AccountBody,
        answers=AccountAnswer,
        status=201,
        key="optional",
        refuses=(AccountExists, IdempotencyMismatch),
        summary="Open an account with its wallet.",
    ),
    Resource(
        method="GET",
        path="/v1/accounts",
        may="wallet",
        handler=list_accounts,
        asks=PageQuery,
        answers=AccountsAnswer,
        summary="All accounts, newest first.",
    ),
    Resource(
        method="GET",
        path="/v1/accounts/{account_id:str}",
        may="read",
        handler=get_account,
        answers=AccountAnswer,
        summary="One account.",
    ),
)
