"""Health: whether the process lives, and whether it can serve."""

from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import select

from api.scope import Answer, Call, Resource
from api.transactions import View
from engine.rules.errors import Unavailable
from engine.store.database import reading
from engine.store.tables import WalletRow


class HealthAnswer(View, frozen=True, kw_only=True):
    status: str


async def get_healthz(call: Call[None]) -> Answer:
    """The process answers; says nothing about the database."""
    return Answer(HealthAnswer(status="ok"))


def get_readyz(call: Call[None]) -> Answer:
    """The database answers and has our tables, and the book is open."""
    try:
        with reading(call.runtime.db) as session:
            session.exec(select(WalletRow.account_id).limit(1)).all()
    except SQLAlchemyError as error:
        raise Unavailable("The database does not answer.") from error
    if call.runtime.group.is_failing:
        raise Unavailable("The book's process does not start; the log says why.")
    return Answer(HealthAnswer(status="ready"))


RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="GET",
        path="/healthz",
        may=None,
        handler=get_healthz,
        is_probed=True,
        answers=HealthAnswer,
        summary="Is it alive?",
    ),
    Resource(
        method="GET",
        path="/readyz",
        may=None,
        handler=get_readyz,
        is_probed=True,
        answers=HealthAnswer,
        refuses=(Unavailable,),
        summary="Can it serve?",
    ),
)
