"""The audit by several processes: the same report as by one, whatever it finds."""

import pytest
from sqlalchemy import text

from engine import audit_many as many
from engine.audit import Report, audit
from engine.audit_many import audit_many
from engine.book import post
from engine.store.database import Database, snapshot, transact, writing
from engine.store.scan import Span, spans
from tests.engine.support import CHAIN_KEY, DAY_0, counting_terms, create_accounts, debit, gift

ACCOUNTS = [f"acc_{number:02d}" for number in range(9)]


@pytest.fixture
def kept(db: Database) -> Database:
    create_accounts(db, *ACCOUNTS)
    terms = counting_terms()
    for number, account_id in enumerate(ACCOUNTS):
        commands = [gift(account_id, 100), *(debit(account_id, 1) for _ in range(number * 3))]
        transact(db, lambda session, c=commands: post(session, c, terms, DAY_0))  # type: ignore[misc]
    return db


def told(report: Report) -> tuple[object, ...]:
    return report.wallets, report.rows, report.purchases, report.documents, report.findings, dict(report.coupons)


def test_processes_find_together_what_one_finds_alone(kept: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "ROWS_MIN", 0)
    seen: list[int] = []
    clean = audit_many(kept, [CHAIN_KEY], 2, seen.append)
    assert clean.is_clean and told(clean) == told(audit(kept, [CHAIN_KEY]))
    assert seen[-1] == clean.rows == 9 + 3 * 36
    with writing(kept) as session:
        session.execute(text("UPDATE transactions SET actor = 'x' WHERE account_id = 'acc_03' AND seq = 4"))
        session.execute(text("DELETE FROM transactions WHERE account_id = 'acc_08' AND seq = 25"))
    broken = audit_many(kept, [CHAIN_KEY], 2)
    assert told(broken) == told(audit(kept, [CHAIN_KEY]))
    assert {"acc_03/4", "acc_08/24"} <= {finding.where for finding in broken.findings}


@pytest.mark.parametrize("pieces", [1, 2, 4, 30])
def test_spans_hold_every_account_once(kept: Database, pieces: int) -> None:
    with snapshot(kept) as session:
        cut = spans(session, pieces)
    assert cut[0].first == "" and cut[-1].end is None and len(cut) <= pieces
    assert [span.end for span in cut[:-1]] == [span.first for span in cut[1:]]
    assert len(set(cut)) == len(cut) and (pieces == 1) == (cut == [Span()])
