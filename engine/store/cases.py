"""Cases: what a provider said and could not be carried out, by what it is about or as the desk names it: rows only."""

from sqlalchemy import func
from sqlmodel import Session, col, select

from engine.store.tables import ProviderCaseRow, ProviderEventRow


def get_case(session: Session, provider: str, kind: str, object_id: str) -> ProviderCaseRow | None:
    """The case of an event or of a refund, locked to the end."""
    return session.get(ProviderCaseRow, (provider, kind, object_id), with_for_update=True)


def find_case(session: Session, case_id: str, *, lock: bool = False) -> ProviderCaseRow | None:
    """A case as the desk names it."""
    statement = select(ProviderCaseRow).where(ProviderCaseRow.case_id == case_id)
    return session.exec(statement.with_for_update() if lock else statement).first()


def get_event(session: Session, provider: str, event_id: str) -> ProviderEventRow | None:
    """An event, locked to the end: whoever writes its case holds it."""
    return session.get(ProviderEventRow, (provider, event_id), with_for_update=True)


def waiting_cases(session: Session) -> list[tuple[str, str, int]]:
    """(provider, kind, how many) of the cases that wait for a person."""
    rows = session.execute(
        select(col(ProviderCaseRow.provider), col(ProviderCaseRow.kind), func.count())
        .where(col(ProviderCaseRow.status) == "waiting")
        .group_by(col(ProviderCaseRow.provider), col(ProviderCaseRow.kind))
    )
    return [(provider, kind, count) for provider, kind, count in rows]
